"""The clock of a SQLite journal moved forward, for tests: a week passes at once.

All times of the journal are by the database's clock (:class:`~app.journal.schema.engine.now`), and
SQLite lets a program give its own functions. So nothing that is written changes: what was recorded
of a flow stays as it was, its timers, retries, deadlines, schedules and the leases of workers that
are dead are due when they would be.
"""

from __future__ import annotations

import mmap
import struct
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, event, exists, select, update

from app.journal.schema import engine as engines
from app.journal.schema.engine import now
from app.journal.schema.models import Duty, Step, Worker
from app.journal.schema.transactions import in_transaction

_FORM = struct.Struct("<d")
_EPOCH_DAY, _DAY_S = 2440587.5, 86400.0


class MovedClock:
    """How far the clock is moved, in a file that all processes of a stack map."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(_FORM.pack(0.0))
        with path.open("r+b") as file:
            self._told = mmap.mmap(file.fileno(), _FORM.size)

    @property
    def by_s(self) -> float:
        """Seconds by which it is ahead."""
        return float(_FORM.unpack(self._told[: _FORM.size])[0])

    def show(self) -> None:
        """Show this clock to the SQLite journals of this process."""
        engines.CLOCK_S = 0.0  # what was read a moment ago may be a week old
        event.listen(Engine, "connect", self._given)

    def move(self, url: str, seconds: float, alive: Collection[int]) -> None:
        """Move it, with the leases of the processes that are alive; others' run out."""
        engine = engines.connect(url)
        try:
            in_transaction(engine, lambda c: self._moved(c, seconds, alive))
        finally:
            engine.dispose()

    def is_quiet(self, url: str) -> bool:
        """Return whether everything waits for a time, or for somebody outside."""
        engine = engines.connect(url)
        try:
            return not in_transaction(engines.reading(engine), self._busy)
        finally:
            engine.dispose()

    def _busy(self, connection: Connection) -> bool:
        due = Step.ready_at <= now() + self.by_s
        ended = ~Step.settled & Step.finished_at.is_not(None)
        moving = (Step.state == "running") | ((Step.state == "ready") & due) | ended
        return bool(connection.scalar(select(exists().where(moving))))

    def _moved(self, connection: Connection, seconds: float, alive: Collection[int]) -> None:
        """Within the transaction nobody else writes: no worker sees its lease run out."""
        later = Worker.lease_until + seconds
        mine = Worker.pid.in_(alive) & (Worker.lease_until > 0)
        connection.execute(update(Worker).where(mine).values(lease_until=later))
        connection.execute(update(Duty).values(until=Duty.until + seconds))
        self._told[: _FORM.size] = _FORM.pack(self.by_s + seconds)

    def _given(self, connection: Any, _: Any) -> None:
        if hasattr(connection, "create_function"):
            connection.create_function("julianday", 1, self._julian_day)

    def _julian_day(self, of: str) -> float:
        if of != "now":
            raise ValueError("the journal asks for now alone")
        return _EPOCH_DAY + (time.time() + self.by_s) / _DAY_S
