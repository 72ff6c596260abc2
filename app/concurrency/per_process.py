"""Objects that each process makes for itself: a forked child leaves its parent's alone."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar
from weakref import WeakSet

T = TypeVar("T")


class PerProcess(Generic[T]):
    """Holds one value (a thread, a connection, a loop) of this process, made on first use."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inherited: list[T] = []  # kept: the parent's connections are not the child's to close
        self.value: T | None = None
        _all.add(self)

    def get(self, make: Callable[[], T]) -> T:
        """Return the value; many threads may ask, one of them makes it."""
        if self.value is None:
            with self._lock:
                if self.value is None:
                    self.value = make()
        return self.value

    def drop(self) -> T | None:
        """Forget the value and return it, for the caller to end; None when there is none."""
        with self._lock:
            value, self.value = self.value, None
            return value

    def _forked(self) -> None:
        self._lock = threading.Lock()  # the fork may have copied it in its locked state
        if self.value is not None:
            self._inherited.append(self.value)
            self.value = None


_all: WeakSet[PerProcess[Any]] = WeakSet()


def _after_fork() -> None:
    for held in list(_all):
        held._forked()  # noqa: SLF001 - this module's


os.register_at_fork(after_in_child=_after_fork)
