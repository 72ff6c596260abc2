"""``celery -A app agents cassette RUN``: the calls of a run, for a test to have them answered."""

from __future__ import annotations

from pathlib import Path

import click

from app.cli.opened import journal
from app.journal.queries.taped import CallTapes, written
from celery_agents.client.shell import Command, NotFoundError, Shown
from celery_agents.contracts.base import id_of


@click.command(cls=Command)
@click.argument("run_id", metavar="RUN")
@click.option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file to write; by default RUN.jsonl.",
)
@click.pass_context
def cassette(ctx: click.Context, run_id: str, output: Path | None) -> Shown:
    """Write the calls of a run that succeeded to a file, without secrets, for tests."""
    with journal(ctx) as engine:
        calls = CallTapes(engine).of_run(id_of(run_id))
    if calls is None:
        raise NotFoundError(f"There is no run {run_id} in the journal.")
    path = output or Path(f"{run_id}.jsonl")
    path.write_text(written(calls), encoding="utf-8")
    told = {"file": str(path), "calls": len(calls)}
    return Shown(told, f"{len(calls)} calls are in {path}.")
