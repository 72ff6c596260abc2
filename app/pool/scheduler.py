"""Which jobs of a pool run, and which wait for a slot or for a thread."""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, Protocol, TypeVar


class OnLoopOrNot(Protocol):
    """The properties of a job that slots depend on."""

    @property
    def on_loop(self) -> bool:
        """False when it needs a thread of its own."""
        ...

    @property
    def has_permits(self) -> bool:
        """True when it asks for a permit for the work that slots are for (see permits.py)."""
        ...


J = TypeVar("J", bound=OnLoopOrNot)


class Slots(Generic[J]):
    """FIFO slots; a job that needs a thread is overtaken while no thread is free.

    Args:
        limit: jobs that run at once.
        ahead: so many more of those that have permits.
        threads: of these, how many at the most in threads.
    """

    def __init__(self, limit: int, threads: int, ahead: int = 0) -> None:
        self.limit = limit
        self._ahead = ahead
        self.running: set[J] = set()
        self._threads = threads
        self._in_threads = 0
        self._queue: deque[J] = deque()
        self._passed: deque[J] = deque()  # had their turn, but no thread
        # Without a hub jobs end in any thread; and a signal may come in here, and stop the pool.
        self._lock = threading.RLock()

    @property
    def waiting(self) -> int:
        """The number of jobs that wait."""
        return len(self._queue) + len(self._passed)

    @property
    def in_threads(self) -> int:
        """The number of running jobs that are in threads."""
        return self._in_threads

    def add(self, job: J) -> None:
        """Queue a job that wants to run."""
        self._queue.append(job)

    def next(self) -> J | None:
        """Give a slot to the next job that may begin, and return it."""
        with self._lock:
            room = self.limit - len(self.running)
            if room > 0 and self._passed and self._in_threads < self._threads:
                return self._occupy(self._passed.popleft())
            while self._queue:
                if room + self._ahead * self._queue[0].has_permits <= 0:
                    return None
                job = self._queue.popleft()
                if job.on_loop or self._in_threads < self._threads:
                    return self._occupy(job)
                self._passed.append(job)
            return None

    def free(self, job: J) -> None:
        """Take back the slot of a job that has ended, if it had one."""
        with self._lock:
            if job in self.running:
                self.running.remove(job)
                self._in_threads -= not job.on_loop

    def clear(self) -> None:
        """Forget the jobs that wait."""
        with self._lock:
            self._queue.clear()
            self._passed.clear()

    def _occupy(self, job: J) -> J:
        self.running.add(job)
        self._in_threads += not job.on_loop
        return job
