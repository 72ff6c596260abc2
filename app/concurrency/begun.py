"""A coroutine that has begun before the task whose it is."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from typing import Any, TypeVar

T = TypeVar("T")


class BegunCoroutine(Coroutine[Any, Any, T]):
    """Begins a coroutine; the task that is made of this goes on with it from where it waits."""

    __slots__ = ("_coroutine", "_ended", "_waits_for")

    def __init__(self, coroutine: Coroutine[Any, Any, T]) -> None:
        self._coroutine = coroutine
        self._waits_for: Any = _NOTHING
        self._ended = False

    def begin(self) -> None:
        """Run it until it first waits.

        Raises:
            StopIteration: it has ended, with this value; the task has nothing more to do.
            Exception: it has ended with that.
        """
        try:
            self._waits_for = self._coroutine.send(None)
        except BaseException:
            self._ended = True
            raise

    def send(self, value: Any) -> Any:
        """As a coroutine's; the first time it says for what it waits already."""
        if self._ended:
            raise StopIteration
        if self._waits_for is _NOTHING:
            return self._coroutine.send(value)
        waits_for, self._waits_for = self._waits_for, _NOTHING
        return waits_for

    def throw(self, *error: Any) -> Any:
        """As a coroutine's. A task that is cancelled now cancels what it would wait for."""
        if self._ended:
            raise error[0]
        waits_for, self._waits_for = self._waits_for, _NOTHING
        cancels = isinstance(error[0], asyncio.CancelledError) and asyncio.isfuture(waits_for)
        if cancels and waits_for.cancel(*error[0].args):  # with what whoever cancels it says
            return waits_for
        return self._coroutine.throw(*error)

    def close(self) -> None:
        """As a coroutine's."""
        self._coroutine.close()

    def __await__(self) -> Generator[Any, Any, T]:
        raise TypeError("It is a task's alone.")


_NOTHING = object()
