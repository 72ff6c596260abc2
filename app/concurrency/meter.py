"""Seconds for which things are under way, by name: summed up as they go on, not when they end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable


class Meter:
    """Sums up seconds, from any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since: dict[Hashable, tuple[str, float]] = {}
        self._sums: dict[str, float] = {}
        self._lock = threading.Lock()

    def begin(self, key: Hashable, name: str) -> None:
        """Note that something has begun."""
        with self._lock:
            self._since[key] = name, self._clock()

    def end(self, key: Hashable) -> None:
        """Note that it is over; what never began is nothing."""
        with self._lock:
            if (found := self._since.pop(key, None)) is not None:
                self._add(*found, self._clock())

    def drain(self) -> dict[str, float]:
        """The seconds since this was called before; what is under way counts up to now."""
        with self._lock:
            now = self._clock()
            for key, (name, since) in self._since.items():
                self._add(name, since, now)
                self._since[key] = name, now
            sums, self._sums = self._sums, {}
            return sums

    def _add(self, name: str, since: float, now: float) -> None:
        self._sums[name] = self._sums.get(name, 0.0) + now - since
