"""A semaphore for the agents that a worker asks at once, however many steps are under way.

A step is claimed before its agent is asked and written down after: some milliseconds that would
leave a slot of ``--concurrency`` without a call, the more so as steps that are claimed together end
together. So a worker takes a few steps more than it has slots, and a step needs its permit for the
time of the call alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from app.concurrency.fibers import current, wait
from app.concurrency.future import Future


def permit() -> AbstractContextManager[None]:
    """Return a permit of the caller's pool; in other pools its slot is one already."""
    fiber = current()
    return nullcontext() if fiber is None or fiber.job is None else fiber.job.permits.one()


class Permits:
    """A fair semaphore: permits go out in the order of asking; on the loop's thread alone."""

    def __init__(self, limit: int) -> None:
        self._free = limit
        self._queue: deque[Future[None]] = deque()

    def change(self, by: int) -> None:
        """Add so many permits, or take some away."""
        self._free += by
        while self._free > 0 and self._queue:
            self._hand_on()

    @contextmanager
    def one(self) -> Iterator[None]:
        """Hold a permit for the time of the block; the fiber waits until there is one."""
        if self._free > 0:
            self._free -= 1
        else:
            self._wait()
        try:
            yield
        finally:
            self._free += 1
            if self._free > 0 and self._queue:
                self._hand_on()

    def _wait(self) -> None:
        turn: Future[None] = Future()
        self._queue.append(turn)
        try:
            wait(turn)
        except BaseException:  # ended while it waits
            if turn.done():
                self.change(1)
            else:
                self._queue.remove(turn)
            raise

    def _hand_on(self) -> None:
        self._free -= 1
        self._queue.popleft().set_result(None)
