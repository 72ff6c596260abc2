"""The room that queues have for more runs, so that no backlog of events fills them."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable

from redis.exceptions import RedisError

from app.execution.runtime import Runtime
from app.journal.schema.rows import Wake
from celery_agents.noted import noting

log = logging.getLogger(__name__)


class Room:
    """The room of queues, as it was at the last look, less what was started since."""

    def __init__(self, runtime: Runtime, most: int) -> None:
        self._findings, self._intake = runtime.journal.findings, runtime.intake
        self._most = most
        self._ready: Counter[str] = Counter()
        self._depths: dict[str, int] = {}

    def look(self) -> None:
        """See how many steps wait in each queue now; messages are counted as they are asked for."""
        self._ready, self._depths = Counter(self._findings.waiting(self._most)), {}

    def of(self, queue: str) -> int:
        """The number of runs that a queue has room for.

        Steps that are ready count, also those whose messages got lost: recovery sends these again.
        """
        if queue not in self._depths:
            self._depths[queue] = 0
            text = "How many messages wait is not known; rows are written all the same"
            with noting(log, "room", text, RedisError):
                self._depths[queue] = self._intake.depth(queue)
        return max(self._most - max(self._ready[queue], self._depths[queue]), 0)

    def take(self, wakes: Iterable[Wake]) -> None:
        """Note what was started."""
        for wake in wakes:
            self._ready[wake.queue] += 1
            if wake.queue in self._depths:
                self._depths[wake.queue] += 1
