"""The tool calls of OpenAI's protocol, whole or put together from the chunks of a stream.

A chunk says which call it goes on with: by ``index``. Servers give all calls the same one, or none;
they leave ids out, make a new one for each chunk, and repeat names. So a chunk begins another call
where its index is new, or where it has a name and anything speaks against the call before.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from agents.models.reading.shapes import arguments_of, arguments_text, mapping, word


@dataclass(slots=True)
class ReadCall:
    """One call: its arguments as JSON text."""

    id: str = ""
    name: str = ""
    arguments: str = ""

    @property
    def complete(self) -> bool:
        """True when its arguments are an object already."""
        try:
            return isinstance(json.loads(self.arguments), dict)
        except (ValueError, RecursionError):
            return False


class Calls:
    """The calls of one answer. ``tools`` are the names that were offered."""

    def __init__(self, tools: Collection[str]) -> None:
        self._tools = tools
        self._calls: list[ReadCall] = []
        self._at: dict[int, ReadCall] = {}

    def add(self, told: Any) -> None:
        """Add a call of a whole message."""
        call = _read(told)
        again = bool(call.id) and any(_repeats(call, other) for other in self._calls)
        if (call.name or call.arguments) and not again:
            self._calls.append(call)

    def add_piece(self, told: Any) -> None:
        """Add what a chunk tells of a call."""
        piece = _read(told)
        place = mapping(told).get("index")
        index = place if isinstance(place, int) else None
        call = self._current(piece, index)
        if call is not None and _repeats(piece, call):
            return
        if call is None or self._begins(piece, call):
            if not (piece.id or piece.name or piece.arguments):
                return
            call = ReadCall()
            self._calls.append(call)
        if index is not None:
            self._at[index] = call
        call.id = call.id or piece.id
        if piece.name and piece.name != call.name:
            call.name += piece.name
        call.arguments += piece.arguments

    def __bool__(self) -> bool:
        return bool(self._calls)

    def found(self) -> list[ReadCall]:
        """The calls in their order, each with an id of its own."""
        ids: set[str] = set()
        for number, call in enumerate(self._calls, 1):
            if not call.id or call.id in ids:
                call.id = f"call{number:05}"  # nine letters and digits: Mistral takes no others
            ids.add(call.id)
        return self._calls

    def _current(self, piece: ReadCall, index: int | None) -> ReadCall | None:
        """The call that a chunk goes on with, if it does not begin one."""
        if index is not None and self._at:
            return self._at.get(index)
        same = (call for call in self._calls if piece.id and call.id == piece.id)
        return next(same, self._calls[-1] if self._calls else None)

    def _begins(self, piece: ReadCall, call: ReadCall) -> bool:
        """Return whether a chunk for this call's place is the first one of another call."""
        if not piece.name:
            return False
        if piece.id and call.id and piece.id != call.id:
            return True
        if piece.name == call.name:
            return call.complete and bool(piece.arguments.strip())
        return call.name in self._tools or bool(call.arguments)


def _read(told: Any) -> ReadCall:
    """A call, or a piece of one; its function may stand around it instead of in it."""
    call = mapping(told)
    function = mapping(call.get("function")) or call
    name, id_ = word(function.get("name")), call.get("id")
    return ReadCall(
        "" if id_ is None else str(id_), name, arguments_text(function.get("arguments"))
    )


def _repeats(piece: ReadCall, call: ReadCall) -> bool:
    """Return whether it only repeats the call, at the end: run twice, it may pay twice."""
    if piece.name != call.name or (piece.id and piece.id != call.id):
        return False
    return call.complete and arguments_of(piece.arguments) == arguments_of(call.arguments)
