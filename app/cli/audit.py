"""``celery -A app agents audit …``: who did what, and whether that is still as it was written."""

from __future__ import annotations

import time
from itertools import islice
from pathlib import Path

import click
from sqlalchemy import Engine

from app.cli.opened import journal
from app.journal.stores.audit import AuditLog
from celery_agents.client.overview.tables import fitted
from celery_agents.client.shell import Command, Shown


@click.group()
def audit() -> None:
    """Acts of people and commands, in a chain of hashes."""


def _log(ctx: click.Context, engine: Engine) -> AuditLog:
    return AuditLog(engine, ctx.obj.app.agents_settings.audit_anchor)


@audit.command("list", cls=Command)
@click.option("--limit", type=int, default=100, show_default=True)
@click.pass_context
def list_entries(ctx: click.Context, limit: int) -> Shown:
    """List the newest entries, the newest first."""
    with journal(ctx) as engine:
        found = _log(ctx, engine).newest(limit)
    lines = []
    for entry in found:
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry["at"]))
        data = "(erased)" if entry["data"] is None else entry["data"]
        told = f"{entry['action']:<16} {entry['target']}  {data}"
        lines.append(f"{entry['seq']:>8}  {at}  {entry['actor']}  {told}")
    return Shown(found, fitted(lines) or "Nothing was written down yet.")


@audit.command(cls=Command)
@click.option(
    "--anchor",
    "anchors",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file that other machines have written as AGENTS_AUDIT_ANCHOR; repeat it.",
)
@click.option("--most", default=100, show_default=True, help="Findings to show at the most.")
@click.pass_context
def verify(ctx: click.Context, anchors: tuple[Path, ...], most: int) -> Shown:
    """Go through the chain; exit 1 where it is not as it was written."""
    with journal(ctx) as engine:
        log = _log(ctx, engine)
        found = list(islice(log.verify(anchors), most))
        end = log.end()
    entries = 0 if end is None else end.seq
    lines = [f"{one.kind:<10} {one.seq} to {one.last}: {one.told}" for one in found]
    told = "\n".join(lines) or f"{entries:,} entries are as they were written."
    findings = [one._asdict() for one in found]
    shown = {"ok": not found, "entries": entries, "findings": findings}
    return Shown(shown, told, ok=not found)
