"""Wants: what commands of a flow ask of the service."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from agents.plan import Member
from celery_agents.contracts.base import JsonValue


@dataclass(frozen=True, slots=True)
class Cancel:
    """A member whose end nobody awaits any more."""

    key: str


@dataclass(frozen=True, slots=True)
class Emit:
    """An entry for a stream."""

    stream: str
    kind: str
    data: dict[str, Any] = field(default_factory=dict)
    key: str | None = None


class BeginAnew(BaseException):
    """Raised through a flow's code, to begin anew with a state as its input."""

    def __init__(self, state: JsonValue) -> None:
        super().__init__("The flow begins anew.")
        self.state = state


#: What is to be done upon a command.
Want = Member | Cancel | Emit
