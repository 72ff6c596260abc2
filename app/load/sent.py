"""Requests that were sent, and how each of them ended."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(slots=True)
class TimedRequest:
    """One request; times are seconds of the tester's clock since the Unix epoch."""

    run_id: str
    due: float
    ended: float | None = None
    state: str | None = None

    @property
    def latency_s(self) -> float | None:
        """From when it was due to its end; None: it has none yet."""
        return None if self.ended is None else self.ended - self.due


class Requests:
    """All of a test: one thread sends, another one looks for ends."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._all: dict[str, TimedRequest] = {}
        self._open: dict[str, TimedRequest] = {}
        #: Requests that the broker did not take, as far as is known; the last error.
        self.refused = 0
        self.error: str | None = None
        #: The longest time by which the tester itself was late.
        self.late_s = 0.0

    def add(self, run_ids: Sequence[str], due: Iterable[float]) -> None:
        """Note what was sent."""
        made = [TimedRequest(*each) for each in zip(run_ids, due, strict=True)]
        with self._lock:
            self._all.update((sent.run_id, sent) for sent in made)
            self._open.update((sent.run_id, sent) for sent in made)

    def open(self, most: int | None = None) -> list[str]:
        """Ids of those that have no end yet, the oldest first."""
        with self._lock:
            return [*self._open][:most]

    def end(self, run_id: str, at: float, state: str) -> None:
        """Note an end."""
        with self._lock:
            sent = self._open.pop(run_id)
            sent.ended, sent.state = at, state

    @property
    def count(self) -> int:
        """How many were sent, or not taken."""
        return len(self._all) + self.refused

    def all(self) -> list[TimedRequest]:
        """All of them, in the order in which they were due."""
        with self._lock:
            return [*self._all.values()]
