"""Marking a Python function as an agent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, Self, TypeVar, cast, overload

from pydantic import ValidationError, model_validator

from celery_agents.contracts.base import Contract, Name, wrong_option
from celery_agents.contracts.caching import CachePolicy, GivenCache
from celery_agents.contracts.compensation import Compensation
from celery_agents.contracts.window import GivenWindow, WindowPolicy

Effects = Literal["pure", "idempotent", "effect"]
F = TypeVar("F", bound=Callable[..., Any])

_MARK = "__celery_agent__"


class AgentMark(Contract):
    """A function's own description as an agent.

    ``effects``: ``pure`` costs nothing and may run any number of times; ``idempotent`` may run
    again with the same result; ``effect`` changes the outside, so it is never raced or hedged.
    ``compensation`` is the agent that undoes what it did, when the run of its step fails.
    ``cache`` says how its answers are kept, if they are: for so many seconds, or by a policy.
    ``window`` says how much of a conversation it is told: so many tokens, or by a policy.
    """

    name: Name
    description: str = ""
    effects: Effects = "idempotent"
    compensation: Compensation | None = None
    cache: GivenCache | None = None
    window: GivenWindow | None = None

    @model_validator(mode="after")
    def _is_cacheable(self) -> Self:
        if self.cache is not None and self.effects == "effect":
            raise ValueError("cache: one with effects is called for each who asks")
        return self


@overload
def agent(function: F) -> F: ...
@overload
def agent(
    *,
    name: str | None = None,
    description: str | None = None,
    effects: Effects = "idempotent",
    compensation: Compensation | str | None = None,
    cache: float | CachePolicy | Mapping[str, Any] | None = None,
    window: int | WindowPolicy | Mapping[str, Any] | None = None,
) -> Callable[[F], F]: ...
def agent(
    function: F | None = None,
    *,
    name: str | None = None,
    description: str | None = None,
    effects: Effects = "idempotent",
    compensation: Compensation | str | None = None,
    cache: float | CachePolicy | Mapping[str, Any] | None = None,
    window: int | WindowPolicy | Mapping[str, Any] | None = None,
) -> F | Callable[[F], F]:
    """Offer a function, sync or async, as an agent under its own name or ``name``.

    It gets the input as its first argument and, where it has parameters of these names, ``step``,
    ``messages``, ``choices``, ``instructions`` and ``schema``. The worker finds it in the modules
    of ``AGENTS_MODULES`` and in the entry points of the group ``celery_agents``.

    >>> @agent
    ... def shout(text: str) -> str:
    ...     "Says it louder."
    ...     return text.upper()
    >>> shout("hello")
    'HELLO'

    Raises:
        ConfigurationError: an option is wrong.
    """

    def mark(function: F) -> F:
        doc = (function.__doc__ or "").strip().split("\n", 1)[0]
        undo = compensation
        try:
            found = AgentMark(
                name=name or function.__name__,
                description=doc if description is None else description,
                effects=effects,
                compensation=Compensation(agent=undo) if isinstance(undo, str) else undo,
                cache=cast("Any", cache),
                window=cast("Any", window),
            )
        except ValidationError as error:
            raise wrong_option("@agent", error, AgentMark) from None
        setattr(function, _MARK, found)
        return function

    return mark if function is None else mark(function)


def mark_of(value: object) -> AgentMark | None:
    """The mark of a function, if it was marked."""
    found = getattr(value, _MARK, None)
    return found if isinstance(found, AgentMark) else None
