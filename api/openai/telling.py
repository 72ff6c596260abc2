"""The events of a run as messages that are said piece by piece, each text once.

A step that begins again, because its worker died or its answer was none, repeats what it said:
from the journal where that was paid, else in other words. What is repeated is held back. Where it
differs, what was said is void, and a new message begins.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from celery_agents import names
from celery_agents.contracts.events import RunEvent
from celery_agents.contracts.outcome import Outcome, State


@dataclass(frozen=True, slots=True)
class Said:
    """A piece of the open message."""

    text: str


@dataclass(frozen=True, slots=True)
class NextMessage:
    """The open message is whole, and not the answer: one that was said on the way."""


@dataclass(frozen=True, slots=True)
class VoidMessage:
    """The open message is void."""


@dataclass(frozen=True, slots=True)
class ToolBegun:
    """The agent calls a tool."""

    call_id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ToolEnded:
    """A call has ended."""

    call_id: str
    failed: bool


@dataclass(frozen=True, slots=True)
class RunEnded:
    """The end: the answer's text, or none."""

    outcome: Outcome
    text: str


Piece = Said | NextMessage | VoidMessage | ToolBegun | ToolEnded | RunEnded


def text_of(task: str, outcome: Outcome) -> str:
    """The answer of a run as a text: of a vote its option, of a gathering its value."""
    value: Any = outcome.value
    if isinstance(value, dict) and task in _INSIDE:
        value = value.get(_INSIDE[task])
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


_INSIDE = {names.VOTE: "option", names.GATHER: "value"}


class Retelling:
    """Reads the events of one run, from its first one on.

    What it gives is a function of the events alone, so whoever reads them again, in another
    process too, gets the same. ``whole``: the answer is told at once, when it is known.
    """

    def __init__(self, run_id: str, task: str, *, whole: bool = False) -> None:
        self._run_id, self._task, self._whole = run_id, task, whole
        self._said = [""]  # messages of this attempt; the last one is open
        self._again: str | None = None  # while it repeats: of the message at
        self._at = 0
        self._lost = False
        self._calls: dict[str, bool] = {}  # that were told, and whether they have ended

    def add(self, event: RunEvent[Any]) -> Iterator[Piece]:
        """Hear an event."""
        if event.type == "end":
            yield from self._end(event.outcome or Outcome(state=State.FAILED))
        elif event.type == "snapshot":  # something was lost: of the rest only the end is sure
            self._whole = self._lost = True
        elif event.step_id != self._run_id or self._whole:
            return
        elif event.type == "restart":
            self._again, self._at = "", 0
        elif event.type == "text":
            yield from self._text(event.text)
        elif event.type == "tool":
            yield from self._tool(event.data)
        elif event.type == "tool_result":
            call_id = str(event.data.get("call_id"))
            if self._calls.get(call_id) is False:
                self._calls[call_id] = True
                yield ToolEnded(call_id, bool(event.data.get("failed")))

    def _text(self, text: str) -> Iterator[Piece]:
        if self._again is None:
            self._said[-1] += text
            yield Said(text)
            return
        self._again += text
        before, is_open = self._said[self._at], self._at == len(self._said) - 1
        if before.startswith(self._again):
            return
        if is_open and self._again.startswith(before):
            rest = self._again[len(before) :]
            self._said[-1], self._again = self._again, None
            yield Said(rest)
        else:
            yield from self._anew(self._again)

    def _anew(self, text: str) -> Iterator[Piece]:
        """Say another text in place of the message that was repeated so far."""
        self._said[self._at :] = [text]
        self._again = None
        yield VoidMessage()
        if text:
            yield Said(text)

    def _tool(self, call: dict[str, Any]) -> Iterator[Piece]:
        if self._again:  # else it says nothing before this call, as before another one
            before, is_open = self._said[self._at], self._at == len(self._said) - 1
            if self._again != before:
                yield from self._anew(self._again)
            elif is_open:
                self._again = None
            else:
                self._at, self._again = self._at + 1, ""
        if self._again is None and self._said[-1]:
            self._said.append("")
            yield NextMessage()
        call_id = str(call.get("call_id"))
        if call_id not in self._calls:
            self._calls[call_id] = False
            arguments = json.dumps(call.get("arguments"), ensure_ascii=False)
            yield ToolBegun(call_id, str(call.get("name")), arguments)

    def _end(self, outcome: Outcome) -> Iterator[Piece]:
        text = text_of(self._task, outcome) if outcome.ok else ""
        said = self._said[-1]
        if outcome.ok and not _same(said, text, outcome.value):
            if text.startswith(said):
                yield Said(text[len(said) :])
            elif self._again is not None or self._lost:
                yield VoidMessage()
                yield Said(text)
            else:
                yield NextMessage()
                yield Said(text)
        yield RunEnded(outcome, text)


def _same(said: str, text: str, value: Any) -> bool:
    """Return whether what was said is the answer, in other white space at the most."""
    if said.strip() == text.strip():
        return True
    if isinstance(value, str):
        return False
    try:
        return bool(said) and bool(json.loads(said) == value)
    except ValueError:
        return False
