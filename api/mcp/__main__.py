"""``python -P -m api.mcp --stdio | --http HOST:PORT``: serve MCP on one process."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys

from app.settings import read_settings
from app.telemetry.set_up import set_up_root
from celery_agents.errors import AgentsError

#: The key or token of the program that starts this one by ``--stdio``.
KEY = "AGENTS_MCP_KEY"


def main() -> None:
    """Serve until asked to stop."""
    given = _arguments().parse_args()
    address = None if given.stdio else _address(given.http)
    # It takes seconds, and a wrong word is told at once.
    from api.mcp.serving import serve_http, serve_pipes

    try:
        settings = read_settings()
        set_up_root(settings.log)
        if address is None:
            asyncio.run(serve_pipes(settings, os.environ.get(KEY)))
        else:
            serve_http(settings, *address)
    except AgentsError as error:
        sys.exit(f"{error.kind}: {error}")


def _arguments() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="api.mcp", description=__doc__)
    how = made.add_mutually_exclusive_group(required=True)
    how.add_argument("--stdio", action="store_true")
    how.add_argument("--http", metavar="HOST:PORT")
    return made


def _address(told: str) -> tuple[str, int]:
    host, _, port = told.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 1 << 16:
        sys.exit(f"--http: {told!r} is no HOST:PORT.")
    return host.strip("[]"), int(port)


if __name__ == "__main__":
    main()
