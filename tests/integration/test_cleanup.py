"""Cleaning a journal of many old rows while steps are claimed and finished beside it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from celery import Celery, current_app
from redis import Redis
from sqlalchemy import func, insert, select

import tasks
from app.execution.runtime import close_runtime, runtime_of
from app.factory import create_app
from app.journal.retention.chunks import Pace
from app.journal.retention.cleanup import Retention, clean_journal
from app.journal.schema.engine import connect, read_clock
from app.journal.schema.models import Call, Event, Run, Step
from app.settings import Settings
from celery_agents import names
from tests.integration.harness import celery
from tests.support.service import APP
from tests.unit.app.journal.support import DONE, World, claimed, step

pytestmark = pytest.mark.databases("both")

RUNS = 500
PAUSE_S = 0.005  # between two steps beside: this process has one interpreter
DAY_S = 86_400.0


@pytest.fixture
def world(database_url: str) -> Iterator[World]:
    made = World(database_url)
    yield made
    made.close()


def fill(world: World, runs: int = RUNS, *, days: float = 40) -> None:
    """Old runs, each with three steps, six calls and an event."""
    with world.engine.begin() as c:
        at = read_clock(c) - days * DAY_S
        ids = [f"old{n}" for n in range(runs)]
        c.execute(
            insert(Run),
            [
                {"id": i, "task": "t", "state": "succeeded", "created_at": at, "finished_at": at}
                for i in ids
            ],
        )
        common = {
            "task": "t",
            "queue": "q",
            "state": "succeeded",
            "payload": {"args": ["x" * 500]},
            "max_attempts": 1,
            "ready_at": at,
            "wake_at": at,
            "created_at": at,
            "finished_at": at,
            "settled": True,
        }
        steps = [(i, f"{i}/{k}") for i in ids for k in range(3)]
        c.execute(insert(Step), [{"id": s, "run_id": i, **common} for i, s in steps])
        call = {
            "token": 1,
            "name": "m",
            "fingerprint": "f",
            "idempotency_key": "k",
            "started_at": at,
            "answer": {"value": "y" * 500},
        }
        c.execute(
            insert(Call), [{"step_id": s, "seq": n, **call} for _, s in steps for n in range(2)]
        )
        c.execute(insert(Event), [{"run_id": i, "step_id": i, "at": at, "kind": "k"} for i in ids])


def left(world: World) -> int:
    with world.engine.connect() as c:
        return c.execute(select(func.count()).select_from(Step)).scalar_one()


def test_nobody_waits_long(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(world)
    journal, over, waits = world.journal(), threading.Event(), []

    def work() -> None:
        n = 0
        while not over.is_set():
            began = time.monotonic()
            journal.finish(claimed(journal, f"new{n}", step(f"new{n}")), DONE).result(20)
            waits.append(time.monotonic() - began)
            n += 1
            time.sleep(PAUSE_S)

    portions: list[float] = []
    plain = Pace.took

    def took(pace: Pace, seconds: float, rows: int, *, cut_off: bool = False) -> None:
        portions.append(seconds)
        plain(pace, seconds, rows, cut_off=cut_off)

    monkeypatch.setattr(Pace, "took", took)
    thread = threading.Thread(target=work)
    thread.start()
    began = time.monotonic()
    try:
        gone = clean_journal(world.engine, Retention(30, 30, 30), batch=100)
    finally:
        over.set()
        thread.join()
    whole_s = time.monotonic() - began
    assert (gone["runs"], gone["steps"], gone["events"]) == (RUNS, 3 * RUNS, RUNS)
    assert left(world) == len(waits)  # the young ones
    portions.sort()
    waits.sort()
    print(
        f"{sum(gone.values())} rows and {6 * RUNS} calls in {whole_s:.1f} s, {len(portions)} "
        f"portions: median {portions[len(portions) // 2] * 1000:.0f} ms, longest "
        f"{portions[-1] * 1000:.0f} ms; claim and finish beside it, {len(waits)}: median "
        f"{waits[len(waits) // 2] * 1000:.1f} ms, longest {waits[-1] * 1000:.0f} ms"
    )
    # Of the machine's own pace: who waited for one lock on all would have waited for the whole.
    assert waits[len(waits) // 2] < whole_s / 4


@pytest.fixture
def app(database_url: str, redis_url: str) -> Iterator[Celery]:
    before = current_app._get_current_object()
    values = {"redis_url": redis_url, "database_url": database_url, "heartbeat_interval_s": 600}
    made = create_app(Settings.model_validate(values))
    made.finalize()
    yield made
    close_runtime(made)
    before.set_default()


def test_the_task_takes_its_turn(app: Celery, world: World, redis_url: str) -> None:
    runtime_of(app, "worker@here")
    fill(world, 5)
    with Redis.from_url(redis_url) as redis:
        redis.zadd(names.INTAKE_TIMES, {"alone": time.time() - 7200, "young": time.time() - 60})
        redis.zadd(names.INTAKE_TIMES, {"kept": time.time() - 7200})
        redis.hset(names.INTAKE_RECORDS, "kept", "{}")
        assert "upkeep" in tasks.__all__
        task = app.tasks[names.CLEAN]
        gone = task(every_s=1e6)
        assert gone == {"runs": 5, "steps": 15, "events": 5, "intake": 1}
        assert set(redis.zrange(names.INTAKE_TIMES, 0, -1)) == {b"young", b"kept"}
    fill(world, 5)
    assert task(every_s=1e6) is None  # the turn is taken
    assert left(world) == 15
    assert task()["runs"] == 5  # by hand there are no turns


def test_the_commands(database_url: str, redis_url: str, world: World) -> None:
    fill(world, 3)

    def agents(*args: str) -> str:
        env = {"REDIS_URL": redis_url, "DATABASE_URL": database_url}
        done = celery("-A", APP, "agents", *args, env=env)
        assert done.returncode == 0, done.stderr
        return done.stdout

    told = agents("clean", "--dry-run").split()
    assert told[:2] == ["Would", "delete:"]
    counts = dict(zip(told[4::2], told[5::2], strict=True))
    assert counts == {"runs": "3", "steps": "9", "calls": "18", "events": "3"}
    assert left(world) == 9
    assert agents("clean").startswith("Deleted:")
    assert left(world) == 0
    assert "no unused room" in agents("db", "vacuum")
    engine = connect(database_url)
    with engine.connect() as c:
        assert c.execute(select(func.count()).select_from(Call)).scalar_one() == 0
    engine.dispose()
