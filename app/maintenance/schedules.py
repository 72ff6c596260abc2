"""Dispatching schedules: each slot that is due starts its run, by whichever worker looks.

Recovery's thread looks, in the worker that has its turn. The journal sees to it that each slot is
started once, also by two that believe it to be theirs; a run whose message gets lost is found as
any other.
"""

from __future__ import annotations

import logging

from app.execution.publish import publish
from app.execution.runtime import Runtime
from app.journal.schema.rows import NewStep
from app.journal.steps.schedules import Dispatched
from app.maintenance.starting import row_of_run
from celery_agents.contracts.flows.schedules import ScheduledRun
from celery_agents.noted import note

log = logging.getLogger(__name__)

#: Schedules of one transaction, and transactions of one look: a thousand that are due at the same
#: time are started in it.
SCHEDULES_MAX, PORTIONS_MAX = 100, 10


class Dispatcher:
    """Starts the runs of schedules."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._store = runtime.journal.schedules

    def dispatch(self) -> int:
        """Start what is due; returns how many runs were started."""
        started = 0
        for _ in range(PORTIONS_MAX):
            if not self._store.is_due():
                break
            found = self._store.dispatch(SCHEDULES_MAX, self.row)
            self._follow(found)
            started += len(found.wakes)
            if found.looked < SCHEDULES_MAX:
                break
        return started

    def row(self, target: ScheduledRun, run_id: str, tenant: str) -> NewStep:
        """The row of a run of what a schedule starts.

        Raises:
            InvalidPayloadError: its task is not here, or does not take what it is given.
        """
        return row_of_run(self._runtime, "schedule", target, run_id, tenant)

    def _follow(self, found: Dispatched) -> None:
        publish(self._runtime.app, found.wakes)
        for run_id in found.cancels:
            self._runtime.follow(self._runtime.journal.cancel(run_id))
        for key, error in found.failed:
            note(log, "schedule", "The schedule %s starts no run", key.name, error=error)
