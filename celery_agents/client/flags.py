"""Options of the commands that ask: whose run it is, its bounds, its session, how it is watched."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

_RUN = [
    click.option("--tenant", help="Whose run it is; else nobody's."),
    click.option("--max-depth", type=int, help="Agents ask agents so deep."),
    click.option("--max-width", type=int, help="Others that each agent of it may ask."),
    click.option("--max-steps", type=int, help="Turns of others that it may lead to."),
    click.option("--max-handoffs", type=int, help="Handoffs in a row."),
    click.option("--max-cost", type=float, help="US dollars; once it has cost so much, it ends."),
    click.option("--deadline", "deadline_s", type=float, help="Seconds for all of it."),
    click.option("--webhook", metavar="URL", help="Who is told of its end, by HTTP."),
    click.option("--stream", is_flag=True, help="Show what it tells while it works."),
    click.option("--timeout", default=60.0, show_default=True, help="Seconds to wait."),
]
_SESSION = [
    click.option("--session", help="The conversation that it goes on with."),
    click.option("--window-tokens", type=int, help="Of the session so much is sent."),
    click.option("--reset-active", is_flag=True, help="Begin with AGENT, whoever took over."),
]


def of_run(command: F) -> F:
    """Add the options of every verb."""
    return _with(command, _RUN)


def of_session(command: F) -> F:
    """Add the options of a run that goes on with a session."""
    return _with(command, _SESSION)


def given(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options that were given, as verbs take them."""
    return {n: v for n, v in options.items() if v is not None and v is not False}


def _with(command: F, options: Sequence[Callable[..., Any]]) -> F:
    for option in reversed(options):  # help shows them in their order
        command = option(command)
    return command
