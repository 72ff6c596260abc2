"""Signals that an instance of a flow was told, and who in its code waits for them."""

from __future__ import annotations

from asyncio import Future
from collections import deque
from typing import Any


class Inbox:
    """Signals by their names; each is taken once, by who waited first."""

    #: It is told all signals, whether somebody waits for them or not.
    hears = True

    def __init__(self) -> None:
        self._kept: dict[str, deque[Any]] = {}
        self._waiting: dict[str, deque[Future[Any]]] = {}

    def put(self, name: str, value: Any) -> None:
        """Give a signal to who waits for it, or keep it."""
        waiting = self._waiting.get(name)
        while waiting:
            first = waiting.popleft()
            if not first.done():
                first.set_result(value)
                return
        self._kept.setdefault(name, deque()).append(value)

    def take(self, name: str, future: Future[Any]) -> None:
        """Have a future get the first signal that nobody took, or the next one that comes."""
        if kept := self._kept.get(name):
            future.set_result(kept.popleft())
        else:
            self._waiting.setdefault(name, deque()).append(future)

    @property
    def unread(self) -> list[tuple[str, Any]]:
        """Signals that nobody took, those of one name in their order."""
        return [(name, value) for name, kept in self._kept.items() for value in kept]

    @property
    def awaited(self) -> bool:
        """True when somebody waits for a signal."""
        return any(not f.done() for waiting in self._waiting.values() for f in waiting)
