"""The schema goes up, and down, while workers of an earlier version and of this one serve."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import inspect, text

from celery_agents import Run
from deploy.local.state import ROOT
from tests.docs.blocks import blocks
from tests.integration.harness import COROUTINES, FAST, SOON_S, Stack, celery, eventually, lines
from tests.support.drawn import costly
from tests.support.earlier import Earlier, commit
from tests.support.workers import WorkerProcess

pytestmark = [pytest.mark.databases("postgres"), pytest.mark.slow, pytest.mark.timeout(600)]

#: Migrations that the earlier version lacks.
BEFORE = 5
#: Steps that have ended: a year of a small desk; in the suite a part of it, more by the variable.
ROWS = int(os.environ.get("UPGRADE_ROWS", costly(100_000, part=20)))
#: Workers of each version.
WORKERS = costly(2, part=2)
#: Runs that are asked for at once, ten times a second; and those of a phase that have to end.
AT_ONCE, PHASE = costly(5, part=3), costly(50, part=3)
_PAGE = blocks(ROOT / "docs" / "operations.md", "sh")
_TYPED = [line for block in _PAGE for line in block.code.splitlines()]
UP, DOWN = (next(t for t in _TYPED if w in t) for w in ("db upgrade", "db downgrade"))


@pytest.fixture
def stack(
    request: pytest.FixtureRequest, database: str, redis_url: str, tmp_path: Path
) -> Iterator[Stack]:
    """On a database without a schema."""
    url = f"sqlite:///{tmp_path / 'journal.db'}"
    if database == "postgres":
        url = request.getfixturevalue("postgres_url")
    made = Stack(redis_url, url, tmp_path, {**FAST, "AGENTS_DRAIN_GRACE_S": "5"})
    yield made
    made.close()


class Load:
    """Runs that are asked for all the time: each input is known by its number."""

    def __init__(self, stack: Stack, counted: Path) -> None:
        self.stack, self.counted = stack, counted
        self.runs: list[Run[Any]] = []
        self._ending = threading.Event()

    def _ask(self) -> None:
        while not self._ending.wait(0.1):
            order = {"seconds": 0.05, "path": str(self.counted)}
            orders: Any = [{**order, "value": len(self.runs) + n} for n in range(AT_ONCE)]
            self.runs += self.stack.client.ask.many("count", orders)

    @contextmanager
    def going_on(self) -> Iterator[None]:
        self._ending.clear()
        asking = threading.Thread(target=self._ask)
        asking.start()
        try:
            yield
        finally:
            self._ending.set()
            asking.join()

    def more(self) -> None:
        """Wait until as many more have ended as a phase takes."""
        wanted = len(lines(self.counted)) + PHASE
        eventually(lambda: len(lines(self.counted)) >= wanted, timeout_s=2 * SOON_S)

    def all_ended_once(self) -> None:
        answers = [run.get(timeout=2 * SOON_S) for run in self.runs]
        assert answers == list(range(len(self.runs)))
        done = Counter(lines(self.counted))
        assert done == Counter(run.id for run in self.runs)


def fill(stack: Stack, run_id: str, count: int) -> None:
    """Write so many copies of a run that has ended, and of its step."""
    series = "WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < :count)"
    with stack.engine.begin() as connection:
        for table in ("runs", "steps"):
            columns = inspect(connection).get_columns(table)
            names = [f'"{c["name"]}"' for c in columns if "computed" not in c]
            copied = [f"{n} || '-' || n" if n in {'"id"', '"run_id"'} else n for n in names]
            connection.execute(
                text(
                    f"INSERT INTO {table} ({', '.join(names)}) {series}"
                    f" SELECT {', '.join(copied)} FROM {table}, s WHERE id = :id"
                ),
                {"count": count, "id": run_id},
            )


def typed(stack: Stack, line: str, schema: str) -> None:
    """Run a command of the page, for the schema that this history has."""
    words = re.sub(r"\b\d{4}$", schema, line).split()[1:]
    done = celery(*words, env=stack.env)
    assert done.returncode == 0, done.stdout + done.stderr


def end(worker: WorkerProcess) -> None:
    worker.send(signal.SIGTERM)
    eventually(lambda: worker.returncode is not None, timeout_s=90)
    assert worker.returncode == 0


def timed(work: Callable[[], None]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


def test_up_with_workers_of_both_versions_and_down_again(
    stack: Stack, counted: Path, tmp_path: Path
) -> None:
    found = commit(BEFORE)
    if found is None:
        pytest.skip("the history of an earlier version is not in this clone")
    hash_, schema = found
    old = Earlier(hash_, tmp_path / "earlier", stack.env)
    old.run("-A", "app", "agents", "db", "upgrade")
    load, workers = Load(stack, counted), []
    workers += [old.worker(COROUTINES, tmp_path) for _ in range(WORKERS)]
    stack.workers += workers
    first = stack.client.ask("noop", "x")
    first.get(timeout=SOON_S)
    eventually(lambda: not stack.unsettled())
    fill(stack, first.id, ROWS)
    celery("-A", "app", "agents", "db", "current", env=stack.env)  # what is timed is the schema
    with load.going_on():
        load.more()
        took = timed(lambda: typed(stack, UP, schema))
        load.more()  # old workers on the new schema
        new = [stack.worker() for _ in range(WORKERS)]
        load.more()  # both
        for worker in workers:
            end(worker)
        load.more()
        for worker in new:
            end(worker)
        typed(stack, DOWN, schema)
        stack.workers.append(old.worker(COROUTINES, tmp_path))
        load.more()
    print(f"{ROWS} rows: up in {took:.1f} s with {len(load.runs)} runs under way and asked for")
    load.all_ended_once()
    states = dict(
        stack.read(lambda c: c.execute(text("SELECT state, count(*) FROM steps GROUP BY 1")).all())
    )
    assert states == {"succeeded": ROWS + 1 + len(load.runs)}
    assert all(worker.returncode == 0 for worker in [*workers, *new])
