"""Functions that are built-in tools: how they are called, what they need, and an example."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import Field
from typing_extensions import Unpack

from agents.tools.base import PolicyOptions, Tool
from agents.tools.policy import ToolPolicy
from celery_agents.contracts.base import JsonValue

#: Characters of a text that a tool takes: more than a model writes, less than a second's work.
MAX_TEXT = 1_000_000
#: Of a text whose tool takes more than one look at each character.
MAX_DOCUMENT = 200_000
Text = Annotated[str, Field(max_length=MAX_TEXT)]
Document = Annotated[str, Field(max_length=MAX_DOCUMENT)]
Short = Annotated[str, Field(max_length=2_000)]

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Offer:
    """The facts about a built-in tool beside its signature."""

    policy: ToolPolicy
    #: Arguments with which it works, for people and tests.
    example: Mapping[str, JsonValue]
    #: Modules that it imports when it is called.
    needs: tuple[str, ...] = ()


def offer(
    example: Mapping[str, JsonValue], *needs: str, **policy: Unpack[PolicyOptions]
) -> Callable[[F], F]:
    """Mark a function as a built-in tool; undeclared, it has no effects."""
    policy.setdefault("effects", "pure")
    marked = Offer(ToolPolicy(**policy), example, needs)

    def mark(function: F) -> F:
        function.offer = marked  # type: ignore[attr-defined]  # functions take attributes
        return function

    return mark


def offer_of(function: Callable[..., Any]) -> Offer:
    """The mark of a function."""
    found: Offer = function.offer  # type: ignore[attr-defined]
    return found


def made(function: Callable[..., Any]) -> Tool:
    """The tool that a marked function is."""
    return Tool(function, policy=offer_of(function).policy)
