"""``celery agents evaluate``: an evaluation whose exit status tells a pipeline how it went."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import click

from celery_agents.client.client import Client
from celery_agents.client.evaluating.report import EvaluationReport
from celery_agents.client.overview.tables import dollars, table, width
from celery_agents.client.shell import Command, Shown
from celery_agents.visible import visible

#: Opens a client.
Opened = Callable[[click.Context], AbstractContextManager[Client]]


def evaluate_command(opening: Opened) -> click.Command:
    """Make the command over a client."""

    @click.command("evaluate", cls=Command)
    @click.argument("dataset", type=click.Path(exists=True, dir_okay=False))
    @click.argument("subject")
    @click.option("--against", help="Another subject that is asked the same.")
    @click.option("--metric", "metrics", multiple=True, default=("exact",), show_default=True)
    @click.option("--least", multiple=True, help="NAME=MEAN: exit 1 below; repeat it.")
    @click.option("--at-once", default=16, show_default=True, type=click.IntRange(1))
    @click.option("--timeout", default=600.0, show_default=True, help="Of each example.")
    @click.pass_context
    def evaluate(ctx: click.Context, /, dataset: str, subject: str, **how: Any) -> Shown:
        """Ask SUBJECT (an agent, or JSON with a verb) about each line of DATASET, and measure.

        Exit 1 where a mean is below --least, or worse than that of --against.
        """
        bounds = dict(map(_bound, how.pop("least")))
        if (other := how.pop("against")) is not None:
            other = _subject(other)
        with opening(ctx) as client:
            found = client.evaluate(dataset, _subject(subject), against=other, **how)
        misses = found.misses(bounds)
        told = {**found.compact(), "misses": misses}
        return Shown(told, _report(found, misses), ok=not misses)

    return evaluate


def _subject(said: str) -> Any:
    if not said.startswith("{"):
        return said
    try:
        return json.loads(said)
    except ValueError as error:
        raise click.BadParameter(f"no JSON: {error}", param_hint="SUBJECT") from None


def _bound(said: str) -> tuple[str, float]:
    name, _, number = said.partition("=")
    try:
        return name, float(number)
    except ValueError:
        raise click.BadParameter(f"{said!r} is not NAME=MEAN", param_hint="--least") from None


def _report(found: EvaluationReport, misses: list[str]) -> str:
    both = [found, *([] if found.against is None else [found.against])]
    rows = [
        (
            one.subject,
            name,
            f"{m.mean:.3f}",
            f"{m.low:.3f} to {m.high:.3f}",
            f"{one.failed:,} of {len(one.cases):,}",
            dollars(one.cost_usd),
            f"{one.latency_p50_s:.3g} s",
            f"{one.latency_p95_s:.3g} s",
        )
        for one in both
        for name, m in one.metrics.items()
    ]
    head = ("subject", "metric", "mean", "95 %", "failed", "cost", "p50", "p95")
    lines = [visible(line) for line in table(head, rows, within=width())]
    lines += [
        f"{name}: {d.mean:+.3f} ({d.low:+.3f} to {d.high:+.3f})"
        for name, d in found.differences.items()
    ]
    return "\n".join([*lines, *misses])
