"""Values of the newest ids: a process remembers no more than so many."""

from __future__ import annotations

import os
import threading
from typing import Generic, TypeVar

V = TypeVar("V")


class Newest(Generic[V]):
    """Values by id, of which the oldest makes room for a new one."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._found: dict[str, V] = {}
        self._lock = threading.Lock()
        os.register_at_fork(after_in_child=self._forked)

    def put(self, key: str, value: V) -> None:
        """Remember a value; it is the newest one from now on."""
        with self._lock:
            self._found.pop(key, None)
            if len(self._found) >= self._most:
                del self._found[next(iter(self._found))]
            self._found[key] = value

    def get(self, key: object) -> V | None:
        """Return the value of an id that is remembered."""
        return self._found.get(key)  # type: ignore[call-overload, no-any-return]

    def _forked(self) -> None:
        self._lock = threading.Lock()  # the fork may have copied it in its locked state

    def __contains__(self, key: object) -> bool:
        return key in self._found
