"""``celery -A app agents mcp``: serve the Model Context Protocol, over HTTP or on pipes."""

from __future__ import annotations

import os
import sys

import click

from app.layout import qualified


@click.command()
@click.option("--stdio", is_flag=True, help="Standard input and output, for AGENTS_MCP_KEY.")
@click.option("--http", "address", metavar="HOST:PORT", help="Serve /mcp on this address.")
def mcp(*, stdio: bool, address: str | None) -> None:
    """Serve agents and panels as tools by MCP, and runs as its tasks."""
    if stdio == (address is not None):
        raise click.UsageError("Say one of --stdio and --http HOST:PORT.")
    how = ["--stdio"] if address is None else ["--http", address]
    # A process of its own, as the API's: the command line's has read the agents' modules.
    os.execv(sys.executable, [sys.executable, "-P", "-m", qualified("api.mcp"), *how])  # noqa: S606 - no shell is wanted
