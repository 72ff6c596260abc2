"""``agents map``: what failed of a map again, and its results as files."""

from __future__ import annotations

from typing import Any

import click

from celery_agents.client.overview.exports import export
from celery_agents.client.shell import Command, Opening, Shown


def map_group(opening: Opening) -> click.Group:
    """Make the commands over a client."""
    group = click.Group("map", help="Maps that have ended: what failed again, and files.")
    for make in (_resume_command, _export_command):
        group.add_command(make(opening))
    return group


def _resume_command(opening: Opening) -> click.Command:
    @click.command("resume", cls=Command)
    @click.argument("run_id")
    @click.option(
        "--agent",
        multiple=True,
        help="Another agent than before; several share what is left.",
    )
    @click.option("--assign", type=click.Choice(["round_robin", "least_busy"]))
    @click.option("--max-concurrent", type=click.IntRange(1), help="So many run at a time.")
    @click.pass_context
    def command(ctx: click.Context, /, run_id: str, agent: Any, **options: Any) -> Shown:
        """Ask again what did not succeed in the map RUN_ID; a new run has all results."""
        given = {name: value for name, value in options.items() if value is not None}
        if agent:
            given["agent"] = agent[0] if len(agent) == 1 else [*agent]
        with opening(ctx) as client:
            run = client.map.resume(run_id, **given)
        return Shown({"id": run.id, "resumes": run_id}, run.id)

    return command


def _export_command(opening: Opening) -> click.Command:
    @click.command("export", cls=Command)
    @click.argument("run_id")
    @click.argument("path", type=click.Path(dir_okay=False, writable=True))
    @click.option("--failed", is_flag=True, help="Only those that did not succeed.")
    @click.pass_context
    def command(ctx: click.Context, run_id: str, path: str, *, failed: bool) -> Shown:
        """Write the outcomes of the map RUN_ID to PATH: .csv, .jsonl or .parquet."""
        with opening(ctx) as client:
            count = export(client.runs.results(run_id), path, failed=failed)
        return Shown({"path": path, "written": count}, f"{count:,} outcomes in {path}")

    return command
