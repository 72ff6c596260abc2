from __future__ import annotations

import os
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event, insert, select, update

from app.journal.schema import engine as engines
from app.journal.schema.engine import now, read_clock
from app.journal.schema.models import Duty, Step, Worker
from app.journal.schema.moving import MovedClock
from app.journal.schema.transactions import in_transaction

WEEK_S = 7 * 86_400.0


@pytest.fixture
def clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MovedClock]:
    monkeypatch.setattr(engines, "CLOCK_S", engines.CLOCK_S)
    made = MovedClock(tmp_path / "clock")
    made.show()
    yield made
    event.remove(Engine, "connect", made._given)


def _add(model: Any, row: dict[str, Any], connection: Connection) -> None:
    connection.execute(insert(model).values(**row))


def _change(values: dict[str, Any], connection: Connection) -> None:
    connection.execute(update(Step).values(**values))


def _workers(engine: Engine) -> dict[int, float]:
    found = in_transaction(
        engine, lambda c: c.execute(select(Worker.pid, Worker.lease_until)).all()
    )
    return {row.pid: row.lease_until for row in found}


def test_a_week_passes_at_once(clock: MovedClock, sqlite_journal_url: str) -> None:
    engine = engines.connect(sqlite_journal_url)
    before = in_transaction(engine, read_clock)
    assert before == pytest.approx(time.time(), abs=5)
    clock.move(sqlite_journal_url, WEEK_S, [])
    for read in (read_clock, lambda c: c.scalar(select(now()))):
        assert in_transaction(engine, read) == pytest.approx(time.time() + WEEK_S, abs=5)
    clock.move(sqlite_journal_url, 1.0, [])
    assert clock.by_s == WEEK_S + 1.0
    engine.dispose()


def test_the_living_keep_their_leases(clock: MovedClock, sqlite_journal_url: str) -> None:
    engine = engines.connect(sqlite_journal_url)
    until = time.time() + 5
    for pid in (1, 2):
        row: dict[str, Any] = {"id": str(pid), "name": "w", "host": "h", "pid": pid}
        times = {"lease_until": until, "started_at": 0.0}
        row |= times
        in_transaction(engine, partial(_add, Worker, row))
    in_transaction(
        engine, lambda c: c.execute(insert(Duty).values(name="recovery", holder="1", until=until))
    )
    clock.move(sqlite_journal_url, WEEK_S, [1])
    assert _workers(engine) == {1: until + WEEK_S, 2: until}
    assert in_transaction(engine, lambda c: c.scalar(select(Duty.until))) == until + WEEK_S
    engine.dispose()


def test_it_is_quiet_while_all_wait(clock: MovedClock, sqlite_journal_url: str) -> None:
    engine = engines.connect(sqlite_journal_url)
    assert clock.is_quiet(sqlite_journal_url)
    at = time.time()
    row: dict[str, Any] = {
        "id": "1" * 36,
        "run_id": "1" * 36,
        "task": "agents.ask",
        "queue": "agents",
    }
    row |= {"payload": {}, "max_attempts": 1, "created_at": at}
    waits = {"state": "ready", "ready_at": at + 3600, "wake_at": at + 3600}
    in_transaction(engine, lambda c: c.execute(insert(Step).values(**row, **waits)))
    assert clock.is_quiet(sqlite_journal_url)
    clock.move(sqlite_journal_url, 3600, [])
    assert not clock.is_quiet(sqlite_journal_url)
    for state, quiet in (("running", False), ("waiting", True)):
        in_transaction(engine, partial(_change, {"state": state}))
        assert clock.is_quiet(sqlite_journal_url) is quiet
    ended = {"state": "succeeded", "finished_at": at, "settled": False}
    in_transaction(engine, lambda c: c.execute(update(Step).values(**ended)))
    assert not clock.is_quiet(sqlite_journal_url)
    engine.dispose()


def test_two_processes_have_one_clock(clock: MovedClock, sqlite_journal_url: str) -> None:
    pid = os.fork()
    if pid == 0:  # pragma: no cover - the other process
        clock.move(sqlite_journal_url, 60.0, [])
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert clock.by_s == 60.0
