"""Commands of a shell: each returns its result, shown to people, or with ``--json`` to programs.

Errors are shown the same way: as ``{"error": {"kind", "message"}}`` on standard output.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, NamedTuple

import click
from celery.bin.base import CeleryCommand
from redis.exceptions import RedisError

from celery_agents.errors import AgentsError
from celery_agents.visible import visible_block, visible_json, visible_lines

_FLAG = "--json"


class Shown(NamedTuple):
    """The result of a command."""

    #: As JSON, for programs.
    value: Any
    #: For people; the value where there is none.
    text: str | None = None
    #: Whether a line ends with it.
    ends: bool = True
    #: Whether the command succeeded: its exit status is 1 where it has not.
    ok: bool = True
    #: Whether names of states are coloured, where people see it on a terminal.
    states: bool = False


#: Makes the client of a command.
Opening = Callable[[click.Context], AbstractContextManager[Any]]
#: Options and arguments that many commands have.
tenant_option = click.option("--tenant", default="", help="Whose it is; else nobody's.")
name_argument = click.argument("name")


class NotFoundError(click.ClickException):
    """There is no such thing."""

    kind = "not_found"


class Command(CeleryCommand):
    """A command that shows what its function returns, or yields: a line each with ``--json``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.append(click.Option([_FLAG, "as_json"], is_flag=True, help="JSON alone."))

    def invoke(self, ctx: click.Context) -> Any:
        """Call the function and show its result."""
        as_json = ctx.params.pop("as_json")
        result = super().invoke(ctx)
        lines = isinstance(result, Iterator)
        ok = True
        for shown in result if lines else [result]:
            ok = ok and shown.ok
            if as_json:
                click.echo(visible_json(shown.value, indent=None if lines else 2))
            elif shown.text is None:
                click.echo(plain(shown.value))
            else:
                text = visible_lines(shown.text)
                click.echo(_coloured(text) if shown.states else text, nl=shown.ends)
        if not ok:
            ctx.exit(1)


#: What went wrong, what needs somebody, what goes on, what is over.
_COLOURS = {
    "failed": "red",
    "dead": "red",
    "waiting": "yellow",
    "running": "cyan",
    "ready": "blue",
    "succeeded": "green",
}
_STATE = re.compile(rf"(?<=  )({'|'.join(_COLOURS)})(?=  |$)", re.MULTILINE)


def _coloured(text: str) -> str:
    """Colour states that stand in columns; click takes colours out where there is no terminal."""
    return _STATE.sub(lambda found: click.style(found[0], fg=_COLOURS[found[0]]), text)


def moment(text: str | None) -> datetime | None:
    """Return the moment that an option's text says.

    Raises:
        click.BadParameter: it says none.
    """
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is no time: 2026-11-30T09:00 is.") from None


def plain(value: Any) -> str:
    """A text's lines, anything else as JSON; what would steer a terminal is escaped."""
    return visible_lines(value) if isinstance(value, str) else visible_json(value, indent=2)


class Commands(click.Group):
    """A group whose errors are messages without a traceback, or JSON."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        as_json = _FLAG in _given(ctx)
        try:
            return super().invoke(ctx)
        except (AgentsError, RedisError, click.ClickException) as error:
            problem = _of_broker(ctx, error) if isinstance(error, RedisError) else error
            if not as_json:
                raise _for_people(problem) from error
            click.echo(visible_json({"error": {"kind": _kind(problem), "message": _said(problem)}}))
            ctx.exit(getattr(problem, "exit_code", 1))


def _given(ctx: click.Context) -> list[str]:
    """The words behind the group's name, up to one that ends the options."""
    words = [*ctx._protected_args, *ctx.args]  # noqa: SLF001 - click keeps a command's name there
    return words[: words.index("--")] if "--" in words else words


def _of_broker(ctx: click.Context, error: RedisError) -> AgentsError:
    address = getattr(ctx.obj.app, "broker_address", None)
    if address is None:
        raise error
    problem: AgentsError = address.error(error)
    return problem


def _kind(error: Exception) -> str:
    usage = "usage" if isinstance(error, click.UsageError) else "error"
    return str(getattr(error, "kind", usage))


def _said(error: Exception) -> str:
    return error.format_message() if isinstance(error, click.ClickException) else str(error)


def _for_people(error: Exception) -> click.ClickException:
    if isinstance(error, click.ClickException):
        return error
    return click.ClickException(visible_block(f"{_kind(error)}: {error}"))
