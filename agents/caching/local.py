"""Answers in a process's own memory.

By W-TinyLFU (G. Einziger, R. Friedman, B. Manes: "TinyLFU: A Highly Efficient Cache Admission
Policy", 2017): what is asked once does not drive out what is asked often, as it does where the
least recently used one goes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

#: Characters of an answer that is kept here; reading a larger one from Redis is worth its way.
ANSWER_MAX = 8_000


@dataclass(slots=True)
class Known:
    """A cached answer, as JSON text."""

    text: str
    #: The millisecond at which it ends, by the clock of Redis; another one is another answer.
    until: int
    #: When Redis last said that it is so.
    confirmed_at: float


class LocalAnswers:
    """Answers by their keys, so many at the most. To be made after forks: it has a thread.

    Raises:
        ImportError: the extra ``cache`` is not installed.
    """

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        from theine import Cache  # its thread begins with the import

        self._answers: Any = Cache(most)
        self._clock = clock

    def get(self, key: str) -> Known | None:
        """The answer of that key."""
        found: Known | None = self._answers.get(key)[0]
        return found

    def put(self, key: str, text: str, until: int, left_s: float) -> None:
        """Keep an answer for so long."""
        if len(text) <= ANSWER_MAX and left_s > 0:
            known = Known(text, until, self._clock())
            self._answers.set(key, known, timedelta(seconds=left_s))

    def confirm(self, key: str, until: int) -> None:
        """Take note that Redis has the answer with that end, or none (0): another one is gone."""
        known = self.get(key)
        if known is None:
            return
        if known.until == until:
            known.confirmed_at = self._clock()
        else:
            self._answers.delete(key)
