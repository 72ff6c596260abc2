"""How the probed targets are: broker, journal, agents, providers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Connection, Engine, select

from app.journal.schema.engine import now, read_clock, reading
from app.journal.schema.transactions import in_transaction
from app.journal.tables import health

Rows = list[dict[str, Any]]
#: Makes new rows of the former ones, by target, and the database's time.
Judge = Callable[[dict[str, Any], float], Rows]


class Targets:
    """The rows of the targets."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def ping(self) -> float:
        """The database's time, asked now: it answers."""
        asked = select(now())
        return in_transaction(reading(self._engine), lambda c: c.execute(asked).scalar_one())

    def read(self) -> Rows:
        """All targets by name, with the ages of their findings."""
        return in_transaction(reading(self._engine), health.read)

    def in_state(self, state: str, fresh_s: float) -> frozenset[str]:
        """Targets in that state by a check at most ``fresh_s`` old."""
        return in_transaction(reading(self._engine), lambda c: health.in_state(c, state, fresh_s))

    def judge(self, targets: Sequence[str], judge: Judge) -> tuple[dict[str, Any], Rows]:
        """Replace the rows of these targets; returns the former ones and the new ones."""

        def work(connection: Connection) -> tuple[dict[str, Any], Rows]:
            at = read_clock(connection)
            before = health.of_targets(connection, targets)
            after = judge(before, at)
            health.replace(connection, after)
            return before, after

        return in_transaction(self._engine, work)
