"""``agents runs``: finding runs, looking into one, watching how far it is.

The client's commands ask a worker; the service's read the journal, and need none.
"""

from __future__ import annotations

import time
from typing import Any

import click

from celery_agents.client.overview.tables import ago, dollars, room, table, width
from celery_agents.client.overview.trees import progress_line, run_lines
from celery_agents.client.shell import Command, NotFoundError, Opening, Shown
from celery_agents.contracts.outcome import State
from celery_agents.contracts.watching import RunInfo
from celery_agents.visible import visible

_UNITS = {"s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}


class Period(click.ParamType[float]):
    """A number of seconds, or one with a unit: ``90``, ``15m``, ``2h``, ``7d``."""

    name = "period"

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        """Read it; refuse what is none."""
        if isinstance(value, float):
            return value
        unit = value[-1:]
        try:
            found = float(value.removesuffix(unit) if unit in _UNITS else value)
        except ValueError:
            found = 0.0
        if not 0 < found < float("inf"):
            self.fail(f"{value!r} is no time: 90, 15m, 2h or 7d are.", param, ctx)
        return found * _UNITS.get(unit, 1.0)


class _Listing(click.Group):
    """A group that lists where no command is named."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0].startswith("-") and args[0] not in {"--help", "-h"}):
            args = ["list", *args]
        return super().parse_args(ctx, args)


def runs_group(opening: Opening) -> click.Group:
    """Make the commands over a source of runs."""
    group = _Listing("runs", help="Find runs, and look into one.")
    for make in (_list_command, _show_command, _progress_command):
        group.add_command(make(opening))
    return group


def _list_command(opening: Opening) -> click.Command:
    @click.command("list", cls=Command)
    @click.option("--state", type=click.Choice([s.value for s in State]), help="Only such.")
    @click.option("--agent", help="Some step of it asks this agent.")
    @click.option("--tenant", help="Only this one's.")
    @click.option("--since", "since_s", type=Period(), help="Begun since: 90, 15m, 2h, 7d.")
    @click.option("--failed", is_flag=True, help="Those that failed or were given up.")
    @click.option("--waiting", is_flag=True, help="Those that wait for a person.")
    @click.option("--stuck", is_flag=True, help="Those that should have gone on for a minute.")
    @click.option("--by", "order", type=click.Choice(["time", "cost"]), default="time")
    @click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 1000))
    @click.option("--after", help="The place that the page before ended with.")
    @click.pass_context
    def command(ctx: click.Context, /, **wanted: Any) -> Shown:
        """List runs, newest or dearest first."""
        given = {name: value for name, value in wanted.items() if value is not None}
        with opening(ctx) as source:
            page = source.list(**given)
        # A run is known by its whole id, and what the list is ordered by stays.
        spare = ("began",) if wanted["order"] == "cost" else ("cost", "began")
        lines = _table(page.runs, spare) if page.runs else ["No such runs."]
        if page.more:
            lines.append(f"more: --after {page.more}")
        return Shown(page.model_dump(mode="json"), "\n".join(lines), states=True)

    return command


def _show_command(opening: Opening) -> click.Command:
    @click.command("show", cls=Command)
    @click.argument("run_id")
    @click.option("--answers", is_flag=True, help="With what agents answered, redacted.")
    @click.pass_context
    def command(ctx: click.Context, run_id: str, *, answers: bool) -> Shown:
        """Show RUN_ID: its tree, why it waits, votes, tool calls, costs and events."""
        with opening(ctx) as source:
            found = source.show(run_id, answers=answers)
        if found is None:
            raise NotFoundError(visible(f"There is no run {run_id} in the journal."))
        return Shown(found, "\n".join(run_lines(found, within=width())), states=True)

    return command


def _progress_command(opening: Opening) -> click.Command:
    @click.command("progress", cls=Command)
    @click.argument("run_id")
    @click.pass_context
    def command(ctx: click.Context, run_id: str) -> Shown:
        """Show how far RUN_ID is with its members: a map, say."""
        with opening(ctx) as source:
            found = source.progress(run_id)
        if found is None:
            raise NotFoundError(visible(f"There is no run {run_id} that has members."))
        told = found.told()
        return Shown(told, progress_line(told))

    return command


def _table(runs: tuple[RunInfo, ...], spare: tuple[str, ...]) -> list[str]:
    now = time.time()
    rows = [
        (
            run.id,
            run.state.value,
            run.agent or run.task.removeprefix("agents."),
            ago(now - run.created_at),
            "" if run.usage is None else dollars(run.usage.cost_usd),
            run.why or run.error or "",
        )
        for run in runs
    ]
    head = ("run", "state", "agent", "began", "cost", "why")
    return table(head, rows, within=room(), spare=spare)
