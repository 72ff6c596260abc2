"""Wants: what commands of a flow ask of the service."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from agents.plan import Member


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


#: What is to be done upon a command.
Want = Member | Cancel | Emit
