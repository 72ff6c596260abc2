"""A journal that cannot be written: nothing is acknowledged, and all runs once it can."""

from __future__ import annotations

import re
import resource
import shutil
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest
from sqlalchemy import make_url, text

from celery_agents.contracts.base import JsonValue
from tests.integration.harness import FAST, SOON_S, Stack, eventually, lines, watching
from tests.support.disks import filled
from tests.support.ports import free_port
from tests.support.postgres import Databases, PostgresServer, binaries, engine
from tests.support.redis_server import RedisServer
from tests.support.workers import WorkerProcess, migrate

pytestmark = pytest.mark.databases("sqlite")

NOT_TAKEN = "its message goes back: JournalUnavailableError: The journal could not be written"


@contextmanager
def full_disk(stack: Stack, worker: WorkerProcess) -> Iterator[None]:
    """No file of the worker's may grow beyond what its journal has: writes fail as if it were full.

    The log of the worker is such a file too, so the journal is made larger first.
    """
    for run in stack.client.ask.many("noop", range(80)):
        run.get(timeout=SOON_S)
    wal = Path(f"{make_url(stack.database_url).database}-wal")
    limit = wal.stat().st_size
    assert limit > worker.log.stat().st_size + 100_000
    resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        yield
    finally:
        unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, unlimited)


@contextmanager
def read_only(stack: Stack, server: Databases) -> Iterator[None]:
    """Transactions of the journal's database may only read."""
    name = make_url(stack.database_url).database

    def turn(change: str) -> None:
        with engine(server.admin).connect() as connection:
            connection.execute(text(f'ALTER DATABASE "{name}" {change}'))
            connection.execute(
                text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :n"),
                {"n": name},
            )

    turn("SET default_transaction_read_only = on")
    try:
        yield
    finally:
        turn("RESET default_transaction_read_only")


def nothing_is_taken(stack: Stack, worker: WorkerProcess, counted: Path) -> str:
    """Ask while the journal is away; the id of the run, whose message stays in the broker."""
    run = stack.client.ask("count", {"path": str(counted), "value": "at last"})
    worker.wait_for_log(f"{run.id} was not taken; {NOT_TAKEN}")
    assert lines(counted) == []
    # In the queue, or taken and not acknowledged: between the two it may be for a moment.
    eventually(lambda: stack.messages(run.id))
    assert not run.ready()
    assert worker.running
    return run.id


def gone_back(events: list[dict[str, Any]]) -> int:
    """How often messages went back to their queue."""
    return sum(e["type"] == "task-rejected" for e in events)


def readiness(port: int) -> tuple[int, str]:
    """What /readyz says."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()


class TestFullDisk:
    def test_it_is_told_once_a_minute_and_by_readiness(self, fast: Stack) -> None:
        port = free_port()
        worker = fast.worker(env={"AGENTS_HEALTH_PORT": str(port)})
        eventually(lambda: readiness(port) == (200, "broker ok\njournal ok\n"))
        with watching(fast) as events, full_disk(fast, worker):
            runs = fast.client.ask.many("noop", range(30))
            eventually(lambda: readiness(port) == (503, "broker ok\njournal away\n"))
            eventually(lambda: gone_back(events) >= 15)
            before = worker.logs()
            eventually(lambda: gone_back(events) >= 45)
            told = worker.logs()[len(before) :].splitlines()
        assert len(told) <= 5, told  # at the most a line of each place that has none yet
        assert [run.get(timeout=SOON_S) for run in runs] == [*range(30)]
        eventually(lambda: readiness(port)[0] == 200)

    def test_nothing_is_acknowledged(self, fast: Stack, counted: Path) -> None:
        worker = fast.worker()
        with full_disk(fast, worker):
            run_id = nothing_is_taken(fast, worker, counted)
            assert fast.row(run_id) is None
        assert fast.client.runs.handle(run_id).get(timeout=SOON_S) == "at last"
        assert lines(counted) == [run_id]

    def test_work_under_way_is_kept(self, fast: Stack, counted: Path) -> None:
        worker = fast.worker(env={"AGENTS_LEASE_S": "60"})
        with full_disk(fast, worker):
            pass  # grown
        seen = counted.with_name("seen")
        order: JsonValue = {"after": str(seen), "path": str(counted), "value": "kept"}
        run = fast.client.ask("slow", order)
        eventually(lambda: lines(counted))
        with full_disk_now(fast, worker):
            seen.touch()
            worker.wait_for_log("is not written yet")
            assert lines(counted) == ["begin", "end"]
            assert not run.ready()
        assert run.get(timeout=SOON_S) == "kept"
        assert lines(counted) == ["begin", "end"]


@contextmanager
def full_disk_now(stack: Stack, worker: WorkerProcess) -> Iterator[None]:
    """As :func:`full_disk` for a journal that was made large before."""
    wal = Path(f"{make_url(stack.database_url).database}-wal")
    resource.prlimit(
        worker.pid, resource.RLIMIT_FSIZE, (wal.stat().st_size, resource.RLIM_INFINITY)
    )
    try:
        yield
    finally:
        unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, unlimited)


@pytest.mark.postgres
class TestReadOnlyDatabase:
    def test_nothing_is_acknowledged(
        self,
        postgres: Databases,
        postgres_journal_url: str,
        redis_url: str,
        tmp_path: Path,
        counted: Path,
    ) -> None:
        stack = Stack(redis_url, postgres_journal_url, tmp_path, FAST)
        try:
            worker = stack.worker()
            with read_only(stack, postgres):
                run_id = nothing_is_taken(stack, worker, counted)
                assert stack.row(run_id) is None
            assert stack.client.runs.handle(run_id).get(timeout=SOON_S) == "at last"
            assert lines(counted) == [run_id]
        finally:
            stack.close()


def goes_on_when_there_is_room(stack: Stack, disk: Path) -> None:
    """Runs that are asked for on a full disk are done later; readiness says no, and then yes."""
    port = free_port()
    worker = stack.worker(env={"AGENTS_HEALTH_PORT": str(port)})
    stack.client.ask("noop", 0).get(timeout=SOON_S)
    with filled(disk):
        before = len(worker.logs())
        runs = stack.client.ask.many("noop", [{"text": "x" * 20_000}] * 40)
        eventually(lambda: readiness(port) == (503, "broker ok\njournal away\n"), timeout_s=60)
        told = Counter(
            re.sub(r"^\[[^\]]*\]|[0-9a-f-]{36}|\d+", "", line)
            for line in worker.logs()[before:].splitlines()
            if "WARNING" in line
        )
        assert worker.running
    assert all(number == 1 for number in told.values()), told
    for run in runs:
        assert run.get(timeout=60)
    eventually(lambda: readiness(port)[0] == 200)


class TestDiskThatIsFull:
    """A real one, which says that nothing fits."""

    def test_sqlite(
        self, small_disk: Path, sqlite_journal_url: str, redis_url: str, tmp_path: Path
    ) -> None:
        journal = small_disk / "journal.db"
        shutil.copy(str(make_url(sqlite_journal_url).database), journal)
        stack = Stack(redis_url, f"sqlite:///{journal}", tmp_path, FAST)
        try:
            goes_on_when_there_is_room(stack, small_disk)
        finally:
            stack.close()

    @pytest.mark.postgres
    def test_postgres(self, small_disk: Path, redis_url: str, tmp_path: Path) -> None:
        folder = binaries()
        if folder is None:
            pytest.skip("PostgreSQL was not found")
        with PostgresServer(folder, small_disk) as server:
            stack = Stack(redis_url, server.create(), tmp_path, FAST)
            migrate(stack.database_url)
            try:
                goes_on_when_there_is_room(stack, small_disk)
            finally:
                stack.close()


#: What a server is short of, how it is told so, and which of the workers have to wait: one that has
#: its connection needs no more room to work.
REFUSING: dict[str, tuple[str, str, slice]] = {
    "room": ("maxmemory", "1", slice(1, 2)),
    "replicas": ("min-replicas-to-write", "1", slice(0, 2)),
}


@pytest.mark.parametrize("what", REFUSING)
def test_a_broker_that_takes_no_writes_is_waited_for(
    what: str, sqlite_journal_url: str, tmp_path: Path
) -> None:
    """By a worker amid its work, and by one that starts then; neither ends, or fills its log."""
    name, value, waiting = REFUSING[what]
    counted = tmp_path / "counted"
    with RedisServer(tmp_path / "broker") as server, server.client() as redis:
        stack = Stack(server.url, sqlite_journal_url, tmp_path, FAST)
        try:
            first = stack.worker(["--concurrency", "2"])
            order: dict[str, JsonValue] = {"seconds": 0.1, "path": str(counted), "value": 1}
            may_end = tmp_path / "may end"
            last: dict[str, JsonValue] = {**order, "after": str(may_end)}
            runs = stack.client.ask.many("slow", [order] * 10 + [last] * 10)
            eventually(lambda: lines(counted).count("end") >= 4)
            usual = redis.config_get(name)[name]
            redis.config_set(name, value)
            second = stack.worker(["--concurrency", "2"], ready=False)
            refused = "Redis refuses, and is asked again in"
            for worker in [first, second][waiting]:
                worker.wait_for_log(refused)
            eventually(lambda: second.logs().count(refused) > 1)
            may_end.touch()
            redis.config_set(name, usual)
            second.wait_ready()
            assert [run.get(timeout=2 * SOON_S) for run in runs] == [1] * 20
            assert lines(counted).count("end") == 20
            for worker in (first, second):
                assert worker.running
                assert "Traceback" not in worker.logs()
                assert worker.logs().count(refused) < 10
        finally:
            stack.close()
