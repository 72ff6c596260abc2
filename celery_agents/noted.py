"""Errors that nobody raises: each is counted, and told in the log once a minute at the most.

What a loop or a broken disk brings thousands of times says nothing new the second time, and a log
that grows by it makes a full disk worse.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from celery_agents.errors import redact

#: After a line, others of its place only count for so long.
PAUSE_S = 60.0
#: Characters of a traceback.
_TRACEBACK_LIMIT = 10_000


@dataclass(slots=True)
class _Place:
    count: int = 0
    untold: int = 0
    quiet_until: float = -1.0


class Notes:
    """Counts by place; a place is a few words that stay the same (``heartbeat``)."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._places: dict[tuple[str, str], _Place] = {}
        self._lock = threading.Lock()
        os.register_at_fork(after_in_child=self._forked)

    def note(
        self,
        log: logging.Logger,
        place: str,
        text: str,
        *args: object,
        error: BaseException | None = None,
        level: int = logging.WARNING,
        trace: bool = False,
        of: str = "",
    ) -> None:
        """Count, and log ``text`` with ``error``: the first time, then once a minute.

        A line says how many were not told since the last one. ``trace`` adds the traceback.
        ``of`` is whose it is, one of a few: each has lines of its own, and they are counted as one.
        """
        untold = self._count((place, of))
        if untold is None:
            return
        more = f" ({untold} more since the last such line)" if untold else ""
        told = "" if error is None else f": {type(error).__name__}: {redact(error)}"
        way = _traceback(error) if trace and error is not None else ""
        log.log(level, "%s%s%s%s", text % args, told, more, way)

    def _count(self, place: tuple[str, str]) -> int | None:
        """Return how many were not logged before this one; None when it is not logged either."""
        with self._lock:
            found = self._places.setdefault(place, _Place())
            found.count += 1
            at = self._clock()
            if at < found.quiet_until:
                found.untold += 1
                return None
            untold, found.untold = found.untold, 0
            found.quiet_until = at + PAUSE_S
            return untold

    @contextmanager
    def noting(
        self, log: logging.Logger, place: str, text: str, *errors: type[Exception]
    ) -> Iterator[None]:
        """As ``contextlib.suppress``, but that it notes what it suppresses; without any, all."""
        expected = errors or (Exception,)
        try:
            yield
        except expected as error:
            self.note(log, place, text, error=error)

    def counts(self) -> dict[str, int]:
        """How often each place was noted in this process."""
        with self._lock:
            counts = Counter[str]()
            for (place, _), found in self._places.items():
                counts[place] += found.count
            return dict(counts)

    def _forked(self) -> None:
        self._lock = threading.Lock()  # the fork may have copied it in its locked state
        self._places = {}  # they are its parent's, who counts them


def _traceback(error: BaseException) -> str:
    """Format the traceback redacted, unlike logging's own."""
    whole = "".join(traceback.format_exception(error))
    return "\n" + redact(whole.rstrip(), limit=_TRACEBACK_LIMIT)


#: This process's.
_notes = Notes()
note, noting, counts = _notes.note, _notes.noting, _notes.counts
