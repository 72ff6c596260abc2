"""The unhealthy targets, as one process sees them."""

from __future__ import annotations

import logging
import threading
import time

from app.journal import Journal
from app.journal.tables.health import Condition
from celery_agents.errors import AgentsError
from celery_agents.noted import note

log = logging.getLogger(__name__)


class HealthView:
    """The unhealthy targets as one process sees them, at most ``cache_s`` late."""

    def __init__(self, journal: Journal, *, fresh_s: float, cache_s: float) -> None:
        self._journal = journal
        self._fresh_s = fresh_s
        self._cache_s = cache_s
        self._lock = threading.Lock()
        self._known: frozenset[str] = frozenset()
        self._until = 0.0

    def unhealthy(self) -> frozenset[str]:
        """Return their names; while the journal is away, the last known ones."""
        with self._lock:
            if time.monotonic() >= self._until:
                try:
                    self._known = self._journal.targets.in_state(Condition.UNHEALTHY, self._fresh_s)
                except AgentsError as error:
                    note(log, "health", "Health is not known", error=error)
                self._until = time.monotonic() + self._cache_s
            return self._known
