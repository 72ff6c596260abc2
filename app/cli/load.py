"""``celery -A app agents load``: ask an agent as often as a profile says, and check what comes."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from app.cli.opened import journal
from app.load.arrivals import PROFILES, STRESS, due, endurance
from app.load.knee import REQUESTS_MIN, WRONG, Ask, Stage, find_knee, judged
from app.load.page import page
from app.load.report import LoadReport, Tolerance, reported
from app.load.trial import Send, Tell, Trial
from app.load.witness import Witness
from celery_agents.client.cli import client_of
from celery_agents.client.client import Client
from celery_agents.client.overview.runs import Period
from celery_agents.client.shell import Command, Shown

#: What stands for a request's number in its input: equal ones may be answered by a cache.
NUMBER = "{n}"
#: A line of progress so often, where it does not go to a terminal.
_LINE_S = 5.0
_PERIOD = Period()


class RateType(click.ParamType[tuple[float, float]]):
    """Requests a second: ``20``, or two of them, ``10:500``."""

    name = "rate"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[float, float]:
        """Read it; refuse what is none."""
        if isinstance(value, tuple):
            return value
        low, _, high = value.partition(":")
        try:
            found = float(low), float(high or low)
        except ValueError:
            found = 0.0, 0.0
        if not all(0 < rate <= _RATE_MAX for rate in found) or found[0] > found[1]:
            self.fail(f"{value!r} is no rate: 20 or 10:500 are, up to {_RATE_MAX:,}.", param, ctx)
        return found


#: More requests a second than one tester can send.
_RATE_MAX = 10_000


@click.command("load", cls=Command)
@click.argument("agent")
@click.option("--profile", type=click.Choice([*PROFILES, STRESS]), default="endurance")
@click.option("--rate", type=RateType(), default="10", help="Requests a second: 20, or 10:500.")
@click.option("--for", "seconds", type=_PERIOD, default="60", help="How long; of stress a stage.")
@click.option("--most", default=10_000, show_default=True, help="Requests at the most.")
@click.option("--drain", type=_PERIOD, default="60", help="Time for the last ones to end.")
@click.option("--input", "input_", default=f"load {NUMBER}", show_default=True, help="Of each.")
@click.option("--p99", type=_PERIOD, help="Exit 1 where p99 is above.")
@click.option("--errors", default=0.0, show_default=True, help="Share that may go wrong.")
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), help="A page, too.")
@click.pass_context
def load(
    ctx: click.Context,
    *,
    agent: str,
    profile: str,
    rate: tuple[float, float],
    seconds: float,
    most: int,
    drain: float,
    input_: str,
    p99: float | None,
    errors: float,
    html: Path | None,
) -> Shown:
    """Ask AGENT as often as a profile says, whatever became of the requests before.

    It is asked for real, and what that costs is paid. endurance: the same rate. ramp: from one rate
    to another. spike: a fifth of the time the other one. stress: more and more, to find how many a
    second can be done. Ctrl-C ends it early, with a report. Exit 1 where something is not good.
    """
    with journal(ctx) as engine, client_of(ctx) as client:
        witness = Witness(engine)
        send = _sending(client, agent, input_)
        trial = Trial(send, witness, most=most, drain_s=drain, tell=_teller())
        bounds = Tolerance(p99, errors)
        stages: list[Stage] = []
        knee = None
        with trial.watched():
            if profile == STRESS:
                top = rate[1] if rate[1] > rate[0] else _RATE_MAX
                knee = find_knee(_staged(trial, seconds, max(errors, WRONG), stages), rate[0], top)
            else:
                trial.arrive(due(PROFILES[profile](rate, seconds)))
                trial.drain()
        report = reported(
            trial, witness, agent=agent, profile=profile, bounds=bounds, stages=stages, knee=knee
        )
    return _shown(report, html)


def _sending(client: Client, agent: str, input_: str) -> Send:
    def send(numbers: Sequence[int]) -> list[str]:
        inputs = [input_.replace(NUMBER, str(number)) for number in numbers]
        return [run.id for run in client.ask.many(agent, inputs)]

    return send


def _staged(trial: Trial, seconds: float, wrong: float, stages: list[Stage]) -> Ask:
    """Stages of a rate each, with an empty queue between them."""

    def stage(rate: float, share: float) -> Stage | None:
        before, refused = len(trial.requests.all()), trial.requests.refused
        lasting = max(share * seconds, REQUESTS_MIN / rate)
        trial.arrive(due(endurance((rate, rate), lasting)))
        trial.drain()
        if trial.stopped or trial.requests.open(1):
            return None
        of = trial.requests.all()[before:], trial.requests.refused - refused
        stages.append(judged(rate, lasting, of[0], refused=of[1], wrong=wrong))
        return stages[-1]

    return stage


def _teller() -> Tell:
    """Show how it goes: by one line that changes on a terminal, elsewhere by one now and then."""
    if sys.stderr.isatty():
        return lambda line: click.echo(f"\r\x1b[K{line}", nl=False, err=True)
    shown = time.monotonic()

    def tell(line: str) -> None:
        nonlocal shown
        if time.monotonic() - shown >= _LINE_S:
            shown = time.monotonic()
            click.echo(line, err=True)

    return tell


def _shown(report: LoadReport, html: Path | None) -> Shown:
    if html is not None:
        html.write_text(page(report), encoding="utf-8")
    return Shown(report.as_json(), "\n".join(report.lines()), ok=report.ok)
