"""A semaphore for the agents that a worker asks at once, however many steps are under way.

A step is claimed before its agent is asked and written down after: some milliseconds that would
leave a slot of ``--concurrency`` without a call, the more so as steps that are claimed together end
together. So a worker takes a few steps more than it has slots, and a step needs its permit for the
time of the call alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from itertools import count

from app.concurrency.fibers import current, wait
from app.concurrency.future import Future
from app.concurrency.meter import Meter

#: Who waits for a permit: its priority, the place in the order of asking, and its turn.
_Waiting = tuple[int, int, Future[None]]


def permit(tenant: str, priority: int) -> AbstractContextManager[None]:
    """Return a permit of the caller's pool; in other pools its slot is one already."""
    fiber = current()
    if fiber is None or fiber.job is None:
        return nullcontext()
    permits: Permits = fiber.job.permits
    return permits.one(tenant, priority)


class _Permit:
    """A permit for the time of a block."""

    __slots__ = ("_meter", "_permits", "_priority", "_tenant")

    def __init__(self, permits: Permits, tenant: str, priority: int) -> None:
        self._permits, self._tenant, self._priority = permits, tenant, priority
        self._meter: Meter | None = None

    def __enter__(self) -> None:
        self._permits.take(self._tenant, self._priority)
        if (meter := self._permits.meter) is not None:
            self._meter = meter
            meter.begin(self, self._tenant)

    def __exit__(self, *_: object) -> None:
        if self._meter is not None:
            self._meter.end(self)
        self._permits.give_back(self._tenant)


class Permits:
    """A semaphore that is fair to tenants; on the loop's thread alone.

    Permits go out in the order of asking. Where several tenants wait, whoever has the fewest for
    its weight is next, as messages are taken (app/messaging/fairly.py): else of the steps that were
    taken ahead, a tenant's short ones would wait behind each other, and its slots be others'.
    """

    def __init__(self, limit: int) -> None:
        self.weights: Mapping[str, float] = {}
        self.meter: Meter | None = None  # once tenants share the service
        self._free = limit
        self._held: dict[str, int] = {}
        self._queues: dict[str, deque[_Waiting]] = {}
        self._asked = count()

    def change(self, by: int) -> None:
        """Add so many permits, or take some away."""
        self._free += by
        while self._free > 0 and self._queues:
            self._hand_on()

    @property
    def idle(self) -> bool:
        """True when a permit is free that nobody waits for."""
        return self._free > 0 and not self._queues

    def one(self, tenant: str, priority: int) -> AbstractContextManager[None]:
        """Hold a permit for the time of the block; the fiber waits until there is one."""
        return _Permit(self, tenant, priority)

    def take(self, tenant: str, priority: int) -> None:
        """Take a permit; the fiber waits until there is one."""
        if self._free > 0:
            self._take(tenant)
        else:
            self._wait(tenant, priority)

    def give_back(self, tenant: str) -> None:
        """Give a permit back, to whoever waits for it."""
        self._free += 1
        self._held[tenant] -= 1
        if not self._held[tenant]:
            del self._held[tenant]
        if self._free > 0 and self._queues:
            self._hand_on()

    def _take(self, tenant: str) -> None:
        self._free -= 1
        self._held[tenant] = self._held.get(tenant, 0) + 1

    def _wait(self, tenant: str, priority: int) -> None:
        turn: Future[None] = Future()
        waiting = (priority, next(self._asked), turn)
        self._queues.setdefault(tenant, deque()).append(waiting)
        try:
            wait(turn)
        except BaseException:  # ended while it waits
            if turn.done():
                self.give_back(tenant)
            else:
                self._leave(tenant, waiting)
            raise

    def _leave(self, tenant: str, waiting: _Waiting) -> None:
        self._queues[tenant].remove(waiting)
        if not self._queues[tenant]:
            del self._queues[tenant]

    def _hand_on(self) -> None:
        tenant = next(iter(self._queues)) if len(self._queues) == 1 else self._next()
        waiting = self._queues[tenant][0]
        self._leave(tenant, waiting)
        self._take(tenant)
        waiting[2].set_result(None)

    def _next(self) -> str:
        def place(tenant: str) -> tuple[int, float, int]:
            priority, asked, _ = self._queues[tenant][0]
            return priority, self._held.get(tenant, 0) / self.weights.get(tenant, 1), asked

        return min(self._queues, key=place)
