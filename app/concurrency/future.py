"""A future that costs little.

A step waits for four or five: claim, work, finish, result, settling. concurrent.futures makes a
condition with two locks for each, which was a seventh of a small step's whole time; here it is one
lock, and a second one only where a thread blocks.
"""

from __future__ import annotations

import logging
from _thread import allocate_lock
from asyncio import _get_running_loop
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from celery_agents.noted import note

log = logging.getLogger(__name__)
T = TypeVar("T")


class Future(Generic[T]):
    """A value to come, or an error; set once, by any thread. To wait: app/concurrency/fibers.py."""

    __slots__ = ("_callbacks", "_done", "_error", "_lock", "_value")

    def __init__(self) -> None:
        self._lock = allocate_lock()
        self._done = False
        self._value: Any = None
        self._error: BaseException | None = None
        self._callbacks: list[Callable[[Future[T]], Any]] | None = None

    def done(self) -> bool:
        """Return whether it has come."""
        return self._done

    def set_result(self, value: T) -> bool:
        """Set the value; return False when one was set before."""
        return self._set(value, None)

    def set_exception(self, error: BaseException) -> bool:
        """Set the error; return False when something was set before."""
        return self._set(None, error)

    def add_done_callback(self, call: Callable[[Future[T]], Any]) -> None:
        """Call it once the value is set, by whoever sets it; at once if it is."""
        with self._lock:
            if not self._done:
                if self._callbacks is None:
                    self._callbacks = []
                self._callbacks.append(call)
                return
        call(self)

    def result(self, timeout: float | None = None) -> T:
        """Return the value; block until it is there.

        Raises:
            TimeoutError: it did not come within ``timeout`` seconds.
        """
        if (error := self.exception(timeout)) is not None:
            raise error
        value: T = self._value
        return value

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return the error, or None for a value; block until either is there."""
        if not self.come_within(-1 if timeout is None else timeout):
            raise TimeoutError
        return self._error

    def come_within(self, seconds: float) -> bool:
        """Block until it has come, for so long; -1: for ever. Return whether it has."""
        if self._done:
            return True
        if (hand_over := getattr(_get_running_loop(), "hand_over", None)) is not None:
            hand_over()  # among it may be what this waits for (app/concurrency/fibers.py)
        gate = allocate_lock()
        gate.acquire()
        self.add_done_callback(lambda _: gate.release())
        return gate.acquire(timeout=seconds)

    def _set(self, value: Any, error: BaseException | None) -> bool:
        with self._lock:
            if self._done:
                return False
            self._value, self._error, self._done = value, error, True
            calls, self._callbacks = self._callbacks, None
        for call in calls or ():
            try:
                call(self)
            except Exception as failed:  # noqa: BLE001 - it is noted
                note(log, "callback", "A callback of a reply failed", error=failed, trace=True)
        return True
