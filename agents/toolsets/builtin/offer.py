"""Functions that are built-in tools: how they are called, what they need, and an example."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MethodType
from typing import Annotated, Any, TypeVar

from pydantic import Field
from typing_extensions import Unpack

from agents.tools.base import PolicyOptions, Tool
from agents.tools.calls import ToolError
from agents.tools.policy import ToolPolicy
from agents.values import PART_SIZE, within
from celery_agents.contracts.base import JsonValue

#: Characters of a text that a tool takes: more than a model writes, less than a second's work.
MAX_TEXT = 1_000_000
#: Of a text whose tool takes more than one look at each character.
MAX_DOCUMENT = 200_000
Text = Annotated[str, Field(max_length=MAX_TEXT)]
Document = Annotated[str, Field(max_length=MAX_DOCUMENT)]
Short = Annotated[str, Field(max_length=2_000)]
#: A number: pydantic reads the text "NaN" as one, too.
Finite = Annotated[float, Field(allow_inf_nan=False)]

#: What a toolset has to say for the tools of a home.
LACKING: Mapping[str, str] = {
    "root": 'root = "/a/folder" in [tools.NAME]',
    "downloads": 'root = "/a/folder" in [tools.NAME]',
    "web": 'kind = "builtin" in [tools.NAME]',
    "search": 'search = { engine = "searxng", url = "…" } in [tools.NAME]',
}

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Offer:
    """The facts about a built-in tool beside its signature."""

    policy: ToolPolicy
    #: Arguments with which it works, for people and tests.
    example: Mapping[str, JsonValue]
    #: Modules that it imports when it is called.
    needs: tuple[str, ...] = ()
    #: What its first parameter is, which a toolset has by its configuration; empty: nothing.
    home: str = ""
    #: Size of the arguments up to which a call runs on the loop: it ends within a millisecond.
    inline: int = 0
    #: Arguments of that size with which it may take longer all the same.
    unless: Callable[[Mapping[str, Any]], object] | None = None

    def in_thread(self, given: Mapping[str, Any]) -> bool:
        """Return whether a call with these arguments may hold up the loop."""
        left, parts = self.inline, []
        for value in given.values():  # most are short texts and numbers
            kind = type(value)
            if kind is str:
                left -= len(value)
            elif kind is int:
                left -= value.bit_length() // 8
            elif kind not in _SMALL:
                parts.append(value)
        big = left < 0 or (parts and not within(parts, left + PART_SIZE * len(parts)))
        return bool(big or (self.unless and self.unless(given)))


#: Kinds of values that have no size.
_SMALL = frozenset({float, bool, type(None)})


def offer(
    example: Mapping[str, JsonValue],
    *needs: str,
    home: str = "",
    inline: int = 0,
    unless: Callable[[Mapping[str, Any]], object] | None = None,
    **policy: Unpack[PolicyOptions],
) -> Callable[[F], F]:
    """Mark a function as a built-in tool; undeclared, it has no effects."""
    policy.setdefault("effects", "pure")
    marked = Offer(ToolPolicy(**policy), example, needs, home, inline, unless)

    def mark(function: F) -> F:
        function.offer = marked  # type: ignore[attr-defined]  # functions take attributes
        return function

    return mark


def offer_of(function: Callable[..., Any]) -> Offer:
    """The mark of a function."""
    found: Offer = function.offer  # type: ignore[attr-defined]
    return found


def made(function: Callable[..., Any], homes: Mapping[str, Any] | None = None) -> Tool:
    """The tool that a marked function is; its first parameter is bound to its home."""
    known = offer_of(function)
    if known.home:
        home = (homes or {}).get(known.home) or _Nowhere(known.home)
        function = MethodType(function, home)
    return Tool(
        function, policy=known.policy, run_in_thread=known.in_thread if known.inline else True
    )


class _Nowhere:
    """The home of a tool that no toolset offers: it can be shown, and not called."""

    def __init__(self, home: str) -> None:
        self._home = home

    def __getattr__(self, _name: str) -> Any:
        raise ToolError(f"It can be called as a tool of a toolset alone: {LACKING[self._home]}.")
