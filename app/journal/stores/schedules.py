"""Schedules, for people and for whoever dispatches them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine

from app.journal.schema.engine import read_clock, reading
from app.journal.schema.rows import Wake
from app.journal.schema.transactions import in_transaction
from app.journal.steps import schedules
from app.journal.steps.schedules import Dispatched, Make, ScheduleKey
from celery_agents.contracts.flows.schedules import ScheduledRun, ScheduleRule


@dataclass(frozen=True, slots=True)
class ScheduleStore:
    """The schedules of a journal, by its database's clock."""

    engine: Engine
    wake_grace_s: float
    clock: Callable[[Connection], float] = read_clock

    def put(self, key: ScheduleKey, rule: ScheduleRule, target: ScheduledRun) -> None:
        """Make or change a schedule; see :func:`schedules.put`."""
        in_transaction(self.engine, lambda c: schedules.put(c, key, rule, target, self.clock(c)))

    def pause(self, key: ScheduleKey) -> None:
        """Let a schedule start nothing; see :func:`schedules.pause`."""
        in_transaction(self.engine, lambda c: schedules.pause(c, key, self.clock(c)))

    def resume(self, key: ScheduleKey) -> None:
        """Let it go on; see :func:`schedules.resume`."""
        in_transaction(self.engine, lambda c: schedules.resume(c, key, self.clock(c)))

    def delete(self, key: ScheduleKey) -> bool:
        """Delete a schedule; returns whether there was one."""
        return in_transaction(self.engine, lambda c: schedules.remove(c, key))

    def trigger(self, key: ScheduleKey, run_id: str, make: Make) -> Wake | None:
        """Start a run of a schedule now; see :func:`schedules.trigger`."""
        return in_transaction(
            self.engine, lambda c: schedules.trigger(c, key, run_id, make, self.wake_grace_s)
        )

    def list(self, tenant: str, name: str | None, limit: int) -> list[dict[str, Any]]:
        """Schedules of a tenant, or the one of a name, for people."""
        return in_transaction(
            reading(self.engine), lambda c: schedules.listed(c, tenant, name, limit)
        )

    def target(self, key: ScheduleKey) -> ScheduledRun | None:
        """The run that a schedule starts; see :func:`schedules.target_of`."""
        return in_transaction(reading(self.engine), lambda c: schedules.target_of(c, key))

    def is_due(self) -> bool:
        """Return whether a schedule has something to do."""
        return in_transaction(reading(self.engine), lambda c: schedules.is_due(c, self.clock(c)))

    def dispatch(self, limit: int, make: Make) -> Dispatched:
        """Start what is due; see :func:`schedules.dispatch_due`."""
        return in_transaction(
            self.engine,
            lambda c: schedules.dispatch_due(c, self.clock(c), limit, make, self.wake_grace_s),
        )
