"""The journal as recovery uses it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from sqlalchemy import Connection, Engine

from app.journal.schema.engine import read_clock, reading, relaxed
from app.journal.schema.new_steps import row_of
from app.journal.schema.rows import Aftermath, NewStep, Wake
from app.journal.schema.transactions import in_transaction, tried
from app.journal.steps import due
from app.journal.steps.due import DueFlow
from app.journal.steps.inserts import insert_steps
from app.journal.steps.joins import Rules
from app.journal.tables.workers import duty_left, standing, take_duty
from app.journal.writing.connection import Held, held_transaction

#: Rows that want a message: finished but not settled, held by a dead worker, taken by nobody.
Wanting = Literal["unsettled", "orphaned", "unwoken"]
_FIND = {"unsettled": due.unsettled, "orphaned": due.orphaned, "unwoken": due.unwoken}


class Findings:
    """Rows whose messages were lost, and messages that never became rows."""

    def __init__(self, engine: Engine, rules: Rules, worker_id: str) -> None:
        self._engine = engine
        self._rules = rules
        self._worker_id = worker_id
        #: Recovery's own, for what a power cut may undo: it finds the same once more.
        self._held = Held(relaxed(engine))

    def close(self) -> None:
        """Close the connection that is kept."""
        self._held.close()

    def take_duty(self, lease_s: float) -> bool:
        """Try to take, or keep, the duty of recovery for the next ``lease_s`` seconds."""
        about = ("recovery", self._worker_id, lease_s)
        return held_transaction(self._held, lambda c: take_duty(c, *about))

    def duty_left(self) -> float:
        """For how many seconds somebody has the duty of recovery still."""
        return in_transaction(reading(self._engine), lambda c: duty_left(c, "recovery"))

    def late_joins(self, limit: int, ago_s: float = 0.0) -> Aftermath:
        """Fire joins that are so long past their deadline."""
        return in_transaction(self._engine, lambda c: due.late_joins(c, limit, self._rules, ago_s))

    def take_flows(self, limit: int, queues: Sequence[str]) -> list[DueFlow]:
        """Claim flows whose time has come, of these queues."""
        about = (limit, queues, self._worker_id)
        return tried(lambda: self._held.statement(lambda c: due.take_flows(c, *about)))

    def next_late(self) -> float | None:
        """For how many seconds no join is past its deadline; None: none has one."""
        return in_transaction(reading(self._engine), due.next_late)

    def wanting(
        self, kind: Wanting, limit: int, *, grace_s: float, backoff_max_s: float
    ) -> list[Wake]:
        """Messages for rows that want one; the rows are not looked at again for a while."""
        find = _FIND[kind]
        return held_transaction(self._held, lambda c: find(c, limit, grace_s, backoff_max_s))

    def ready(self, ids: Sequence[str]) -> list[Wake]:
        """Messages for those of these steps that may be claimed now."""
        return in_transaction(reading(self._engine), lambda c: due.ready(c, ids))

    def waiting(self, most: int) -> dict[str, int]:
        """The number of steps that wait in each queue; see :func:`due.waiting`."""
        return in_transaction(reading(self._engine), lambda c: due.waiting(c, most))

    def standing(self) -> tuple[int, int]:
        """The place of this process, from 0, among those that have a lease; how many these are."""
        return in_transaction(reading(self._engine), lambda c: standing(c, self._worker_id))

    def known(self, ids: list[str]) -> set[str]:
        """Which of these ids have a row."""
        return in_transaction(reading(self._engine), lambda c: due.known(c, ids))

    def take_in(self, steps: Sequence[NewStep]) -> None:
        """Make rows of steps whose message was lost."""
        if steps:
            in_transaction(self._engine, lambda c: self._insert(c, steps))

    def _insert(self, connection: Connection, steps: Sequence[NewStep]) -> None:
        at = read_clock(connection)
        insert_steps(connection, [row_of(s, at, self._rules.wake_grace_s) for s in steps])
