"""``agents learned``, ``feedback``, ``verdict``, ``voters``; how ``solve`` reads strategies."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import click

from celery_agents.client.client import Client
from celery_agents.client.overview.tables import clock, dollars, table, width
from celery_agents.client.shell import Command, Shown, plain
from celery_agents.contracts.teams.solve import WorkLessons
from celery_agents.contracts.teams.team import TeamReport
from celery_agents.visible import visible

#: Opens a client.
Opening = Callable[[click.Context], AbstractContextManager[Client]]


def team_commands(opening: Opening) -> list[click.Command]:
    """Make the commands over a client."""
    return [_learned(opening), _feedback(opening), _verdict(opening), _voters(opening)]


def report(found: TeamReport) -> str:
    """A report in words: the answer, then the turns of the team, those below others indented."""
    rows = [
        (
            "  " * part.depth + part.agent,
            part.error or part.state.value,
            "" if part.duration_s is None else f"{part.duration_s:.3g} s",
            f"{part.usage.calls:,}",
            dollars(part.usage.cost_usd),
            " ".join(part.task.split()),
        )
        for part in found.parts
    ]
    head = ("agent", "state", "took", "calls", "cost", "task")
    more = f"and {found.left_out:,} more" if found.left_out else ""
    lines = [visible(plain(found.value)), *table(head, rows, within=width()), more]
    return "\n".join(filter(None, lines))


#: Help of an option of ``solve``.
STRATEGY = 'An agent, or JSON: {"verb": "vote", "options": {"voters": […]}}; repeat it.'


def strategy_of(said: str) -> Any:
    """Read a strategy: a JSON object, or an agent's name."""
    if not said.startswith("{"):
        return said
    try:
        return json.loads(said)
    except ValueError as error:
        raise click.BadParameter(f"no JSON: {error}", param_hint="--strategy") from None


def _learned(opening: Opening) -> click.Command:
    @click.command("learned", cls=Command)
    @click.option("--work", help="Only for this sort of work.")
    @click.pass_context
    def command(ctx: click.Context, work: str | None) -> Shown:
        """Show what was learned of strategies and of candidates, the best first."""
        with opening(ctx) as client:
            found = client.solve.learned(work)
        text = "\n".join(line for one in found for line in _lines(one))
        told = [one.model_dump(mode="json") for one in found]
        return Shown(told, text or "Nothing was learned yet.")

    return command


def _lines(one: WorkLessons) -> list[str]:
    rows = [
        (
            record.name,
            f"{record.reward:.3f}",
            f"{record.attempts:,.1f}",
            "" if record.median_s is None else f"{record.median_s:.3g} s",
        )
        for record in one.records
    ]
    head = f"{one.verb} {one.work}: {one.requests:,} requests, the last at {clock(one.changed_at)}"
    names = ("name", "reward", "attempts", "median")
    return [visible(head), *(table(names, rows, within=width()) if rows else ())]


def _feedback(opening: Opening) -> click.Command:
    @click.command("feedback", cls=Command)
    @click.argument("run_id")
    @click.argument("score", type=click.FloatRange(0, 1))
    @click.pass_context
    def command(ctx: click.Context, run_id: str, score: float) -> Shown:
        """Tell what the answer of RUN_ID, of `solve`, was worth: SCORE from 0 to 1."""
        with opening(ctx) as client:
            client.solve.handle(run_id).feedback(score)
        return Shown({"id": run_id, "score": score}, visible(f"{run_id} was worth {score:g}."))

    return command


def _verdict(opening: Opening) -> click.Command:
    @click.command("verdict", cls=Command)
    @click.argument("run_id")
    @click.argument("verdict", type=click.Choice(["right", "wrong"]))
    @click.option("--answer", help="The one that was right.")
    @click.pass_context
    def command(ctx: click.Context, run_id: str, verdict: str, answer: str | None) -> Shown:
        """Tell whether the decision of RUN_ID, of `vote`, was right."""
        with opening(ctx) as client:
            client.verdicts.give(run_id, verdict == "right", answer=answer)
        return Shown({"id": run_id, "verdict": verdict}, visible(f"{run_id} was {verdict}."))

    return command


def _voters(opening: Opening) -> click.Command:
    @click.command("voters", cls=Command)
    @click.option("--tenant", default="", help="Whose votes; else nobody's.")
    @click.pass_context
    def command(ctx: click.Context, tenant: str) -> Shown:
        """Show how reliable voters are, by verdicts and by decisions."""
        with opening(ctx) as client:
            found = client.verdicts.voters(tenant=tenant)
        rows = [
            (
                visible(name),
                f"{one.right:.1f} of {one.judged:.1f}",
                f"{one.agreed} of {one.decided}",
            )
            for name, one in sorted(found.items())
        ]
        told = {name: one.model_dump(mode="json") for name, one in found.items()}
        lines = table(("agent", "right", "agreed"), rows, within=width()) if rows else ()
        return Shown(told, "\n".join(lines) or "Nothing was judged yet.")

    return command
