"""The messages that an instance of an actor is told: one at a time, and only when it wants one."""

from __future__ import annotations

from asyncio import Future
from collections import deque
from typing import Any


class Mailbox:
    """In the place of a flow's inbox. While ``hears`` is false, nobody tells it a message."""

    def __init__(self) -> None:
        self._kept: deque[Any] = deque()
        self._waiting: Future[Any] | None = None

    def put(self, name: str, value: Any) -> None:  # noqa: ARG002 - as a flow's inbox has it
        """Give a message to the actor; what is none is given as an empty text."""
        value = "" if value is None else value
        if self.hears and self._waiting is not None:
            self._waiting.set_result(value)
        else:
            self._kept.append(value)

    def wait(self, future: Future[Any]) -> None:
        """Have a future get the next message."""
        if self._kept:
            future.set_result(self._kept.popleft())
        else:
            self._waiting = future

    @property
    def hears(self) -> bool:
        """True when the actor waits for a message, and has not been given one."""
        return self._waiting is not None and not self._waiting.done()

    @property
    def awaited(self) -> bool:
        """The same: a flow that waits for nothing would be at fault."""
        return self.hears

    @property
    def unread(self) -> list[tuple[str, Any]]:
        """None: what was not told stands in the journal, in its place."""
        return []
