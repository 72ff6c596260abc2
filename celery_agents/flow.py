"""Marking an async function as a flow."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar, overload

from pydantic import ValidationError

from celery_agents.contracts.base import Contract, Name, Version, wrong_option
from celery_agents.errors import ConfigurationError

F = TypeVar("F", bound=Callable[..., Any])

_MARK = "__celery_flow__"


class FlowMark(Contract):
    """A function's own description as a flow."""

    name: Name
    version: Version = 1


@overload
def flow(function: F) -> F: ...
@overload
def flow(*, name: str | None = None, version: int = 1) -> Callable[[F], F]: ...
def flow(
    function: F | None = None, *, name: str | None = None, version: int = 1
) -> F | Callable[[F], F]:
    """Offer an async function of ``(run, input)`` as a flow, under its own name or ``name``.

    It may wait for years: it is run again from its start each time something comes, and what it
    awaited before is given from the journal. So it asks agents for all that touches the world
    (``await run.ask(…)``), and does nothing else but to decide; ``asyncio``'s ``gather``,
    ``wait_for``, ``sleep``, ``TaskGroup`` and ``Queue`` do. Several versions may stand side by
    side: runs that are under way go on with theirs.

    >>> @flow(version=1)
    ... async def greet(run, name):
    ...     return await run.ask("shout", f"hello {name}")

    Raises:
        ConfigurationError: an option is wrong, or it is no async function.
    """

    def mark(function: F) -> F:
        if not inspect.iscoroutinefunction(function):
            raise ConfigurationError("@flow: it is for async functions of (run, input).")
        try:
            found = FlowMark(name=name or function.__name__, version=version)
        except ValidationError as error:
            raise wrong_option("@flow", error, FlowMark) from None
        setattr(function, _MARK, found)
        return function

    return mark if function is None else mark(function)


def flow_mark_of(value: object) -> FlowMark | None:
    """The mark of a function, if it was marked."""
    found = getattr(value, _MARK, None)
    return found if isinstance(found, FlowMark) else None
