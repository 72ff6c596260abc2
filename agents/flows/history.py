"""The history of a flow: what it was told, and what it asked for then.

A line is an event and the commands that its code gave upon it, before it waited again. In a replay
each command is held against the line's: by key, kind, name and a digest of what is asked.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, deque
from collections.abc import Iterable
from itertools import islice
from typing import Any, NamedTuple

from pydantic_core import to_jsonable_python

from celery_agents.contracts.flows.history import EventKind

#: The kind of a command that only says which way the code went.
PATCHED = "patched"
#: Lines of a history at which people are warned, and at which nothing more may be asked.
LINES_WARN, LINES_MAX = 10_000, 100_000
#: Seconds that a flow has to clean up after it was cancelled; then it ends where it is.
CLEANUP_S = 60.0


class FlowCommand(NamedTuple):
    """Something that a flow's code asks for, as it is compared."""

    key: str
    kind: str
    name: str
    digest: str

    def __str__(self) -> str:
        about = f" {self.name}" if self.name else ""
        return f"{self.kind}{about} (key {self.key}, asks {self.digest[:8] or 'nothing'})"


class Line(NamedTuple):
    """One event, when it happened, and what the code asked for upon it."""

    kind: EventKind
    key: str
    at: float  # seconds since 1970
    value: Any = None
    commands: tuple[FlowCommand, ...] = ()
    #: Of a signal, its place among those that the flow was sent.
    place: int | None = None

    @property
    def data(self) -> dict[str, Any]:
        """The line as its entry has it."""
        told: dict[str, Any] = {"key": self.key, "at": self.at}
        if self.place is not None:
            told["place"] = self.place
        if self.value is not None:
            told["value"] = self.value
        if self.commands:
            told["then"] = [list(command) for command in self.commands]
        return told

    @classmethod
    def of(cls, kind: Any, data: dict[str, Any]) -> Line:
        """The line that an entry has."""
        then = data.get("then")
        commands = () if then is None else tuple(map(FlowCommand._make, then))
        return cls(kind, data["key"], data["at"], data.get("value"), commands, data.get("place"))


class Difference(NamedTuple):
    """The first command in which code differs from its history; None: there is none."""

    recorded: FlowCommand | None
    asked: FlowCommand | None
    line: int  # of the history
    place: str  # in the code

    def __str__(self) -> str:
        then = "asked for nothing more" if self.recorded is None else f"asked for {self.recorded}"
        now = "asks for nothing more" if self.asked is None else f"asks for {self.asked}"
        return f"{self.place}: the run {then} at line {self.line}; this code {now}"


class SignalWaits:
    """The waits for signals that a history leaves open.

    A wait that the code has given up, as one with a time, stays open: a history does not say that.
    """

    def __init__(self, lines: Iterable[Line] = ()) -> None:
        self._keys: dict[str, deque[str]] = {}
        self._kept: Counter[str] = Counter()
        self._generation = 0
        self.add(lines)

    def add(self, lines: Iterable[Line]) -> None:
        """Go on with the lines behind those that are known."""
        for line in lines:
            self._tell(line)
            for one in line.commands:
                if one.kind == "signal":
                    self._ask(one)

    @property
    def size(self) -> int:
        """How much is kept of a history."""
        return len(self._keys) + len(self._kept) + sum(map(len, self._keys.values()))

    def open(self, more: Iterable[str] = ()) -> dict[str, str]:
        """The names of signals that are waited for, by keys that no other wait has.

        ``more``: names of signals that are told next, each to who waited first.
        """
        told = Counter(more)
        return {
            key: name for name, keys in self._keys.items() for key in islice(keys, told[name], None)
        }

    def _put(self, name: str) -> None:
        """Have who waited first get a signal of that name; else it is kept."""
        if self._keys.get(name):
            self._keys[name].popleft()
        else:
            self._kept[name] += 1

    def _tell(self, line: Line) -> None:
        if line.kind == "signal":
            self._put(line.key)
        elif line.kind == "started":
            value = line.value or {}
            self._generation = value.get("generation", 0)
            self._keys.clear()
            self._kept = Counter(name for name, _ in value.get("signals", ()))

    def _ask(self, one: FlowCommand) -> None:
        if self._kept[one.name]:
            self._kept[one.name] -= 1
        else:
            keys = self._keys.setdefault(one.name, deque())
            keys.append(f"{self._generation}/{one.key}")


#: Of values as code has them; models, dates and tuples as their JSON.
_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), default=to_jsonable_python).encode


def digest_of(told: Any) -> str:
    """A digest of what a command asks, whatever the order of its keys: 64 bits of BLAKE2b."""
    return hashlib.blake2b(_encode(told).encode(), digest_size=8).hexdigest()
