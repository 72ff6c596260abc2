"""Limits without Redis: each process goes by its share of them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from agents.governance import limits as rules
from agents.governance.limits import Book, Concurrency, Denial, Rate, ToldRate, Want
from agents.governance.wants import Wanted
from celery_agents.errors import AgentsError
from celery_agents.noted import note

log = logging.getLogger(__name__)

#: When a step looks again for a slot: nobody can wake it.
LOOK_AGAIN_MS = 1000
#: A slot is free when its request ends; it ends with the process.
LEASE_MS = 24 * 3600 * 1000
#: Seconds for which a count of the workers holds.
COUNTED_S = 5.0


class OwnShare:
    """One process's share of each limit: that divided by the workers that live.

    What is left over goes to the first ones. So all shares together are the limit; where there are
    more workers than slots, some have one and the others none, and their steps come again to those.

    Args:
        standing: this one's place among them, from 0, and their number. While the journal is away
            too, the last one holds.
    """

    def __init__(
        self, standing: Callable[[], tuple[int, int]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._look = standing
        self._clock = clock
        self._standing, self._until = (0, 1), -1.0
        self._book = Book()
        self._lock = threading.Lock()

    def ask(self, wanted: Sequence[Wanted], who: str) -> Denial | None:
        """Take what is wanted, all of it or nothing."""
        wants = self._shares(wanted)
        with self._lock:
            now = self._clock() * 1000
            self._book, denied = rules.ask(self._book, wants, who, now, LEASE_MS)
        if denied is not None and denied.wait_ms is None:
            return replace(denied, wait_ms=LOOK_AGAIN_MS)
        return denied

    def load(self, key: str) -> int:
        """How many hold a slot here."""
        with self._lock:
            return len(self._book.holds.get(key, {}))

    def settle(
        self, wanted: Callable[[], Sequence[Wanted]], who: str, wrong: Sequence[int]
    ) -> None:
        """Free the slots of a request; its costs were wrong by so much."""
        wants = self._shares(wanted())
        used = {
            want.key: want.cost + by
            for want, by in zip(wants, wrong, strict=True)
            if isinstance(want, Rate | ToldRate)
        }
        with self._lock:
            now = self._clock() * 1000
            self._book = rules.settle(self._book, wants, who, now, used)

    def _shares(self, wanted: Sequence[Wanted]) -> list[Want]:
        if self._clock() >= self._until:
            self._until = self._clock() + COUNTED_S
            try:
                place, workers = self._look()
                self._standing = place, max(workers, 1)
            except AgentsError as error:  # whoever lived does so still
                note(log, "own_share", "Living workers cannot be counted", error=error)
        return [_share(one.want, *self._standing) for one in wanted]


def _share(want: Want, place: int, workers: int) -> Want:
    """One worker's share of a limit."""
    match want:
        case Concurrency():
            return replace(want, most=want.most // workers + (place < want.most % workers))
        case Rate():
            unit_ms = want.unit_ms * workers
            return replace(want, unit_ms=unit_ms, burst_ms=max(want.burst_ms, unit_ms))
        case _:
            return want
