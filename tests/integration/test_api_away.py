"""An API that is frozen, dead, overrun, or slow: workers, Flower and clients do not know of it."""

from __future__ import annotations

import resource
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest
import requests
from sqlalchemy import make_url
from sqlalchemy.exc import DBAPIError

from app.access.permissions import Role
from app.journal.schema.engine import connect
from deploy.local.servers import LOOPBACK
from tests.integration.harness import FAST, SOON_S, Stack, eventually
from tests.support.api import Asked, in_process, made_key, served, settings
from tests.support.slow_route import SlowRoute

# On PostgreSQL there are those whose transactions hang or stand still.
pytestmark = pytest.mark.databases("sqlite")

ASK = {"task": "ask", "agent": "shout", "input": "hello"}
#: More than a server keeps that has not accepted them.
QUEUED_MAX = 20_000


@pytest.fixture
def stack(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Stack]:
    """A worker and Flower, on each database."""
    made = Stack(redis_url, database_url, tmp_path, FAST)
    made.worker()
    yield made
    made.close()


class Rest:
    """All of a service but its API."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._flower = stack.flower({"FLOWER_UNAUTHENTICATED_API": "1"})
        self._asked = 0
        eventually(self._is_seen, "Flower's sight of the worker")

    def _is_seen(self) -> bool:
        with requests.Session() as direct:
            direct.trust_env = False
            try:
                found = direct.get(f"{self._flower}/api/workers?refresh=1", timeout=20)
            except requests.ConnectionError:
                return False
        return self._stack.workers[0].name in found.json()

    def works(self) -> None:
        """New runs are done, the client tells of them, and Flower sees the worker."""
        self._asked += 20
        asked = range(self._asked, self._asked + 20)
        runs = [self._stack.client.ask("shout", f"n{n}") for n in asked]
        assert [run.get(timeout=SOON_S) for run in runs] == [f"N{n}" for n in asked]
        vote = self._stack.client.vote(["yes", "yes", "no"], "?").get(timeout=SOON_S)
        assert vote.option == "yes"
        told = self._stack.client.runs.status(runs[0].id)
        assert told is not None
        assert told["state"] == "succeeded"
        assert self._is_seen()

    def knows_of(self, port: int) -> list[Any]:
        """Connections of its processes to a port."""
        found = []
        for worker in self._stack.workers:
            top = psutil.Process(worker.pid)
            for process in (top, *top.children(recursive=True)):
                found += [c for c in process.net_connections() if c.raddr and c.raddr.port == port]
        return found


def _env(stack: Stack, **more: str) -> dict[str, str]:
    return {"REDIS_URL": stack.redis_url, "DATABASE_URL": stack.database_url, **more}


def _freeze(stack: Stack, http: Any) -> None:
    """Pause the API between two of its writes: SQLite has one lock for all who write."""
    with stack.engine.begin():
        http.child.send(signal.SIGSTOP)
        stopped = psutil.STATUS_STOPPED
        eventually(lambda: psutil.Process(http.child.pid).status() == stopped)


def _fill(to: tuple[str, int], kept: ExitStack) -> int:
    """Connect until the server's kernel takes no more; how many it took."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = min(QUEUED_MAX + before[0], before[1])
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, before[1]))
    kept.callback(resource.setrlimit, resource.RLIMIT_NOFILE, before)
    for count in range(QUEUED_MAX):
        one = kept.enter_context(socket.socket())
        one.settimeout(1.0)
        try:
            one.connect(to)
        except TimeoutError:
            return count
    raise AssertionError("The listen queue has no end.")


@pytest.mark.databases("one")
def test_frozen_overrun_and_dead(stack: Stack, tmp_path: Path) -> None:
    rest = Rest(stack)
    key = made_key(stack.database_url, Role.USER)
    with served(_env(stack), tmp_path) as http, ExitStack() as kept:
        user = Asked(http, key)
        accepted = [user("POST", "/tasks", ASK, status=202)["id"] for _ in range(20)]
        _freeze(stack, http)
        done = [stack.client.runs.handle(run_id).get(timeout=SOON_S) for run_id in accepted]
        assert done == ["HELLO"] * 20
        rest.works()
        port = http.base_url.port or 0
        to = (LOOPBACK, port)
        assert _fill(to, kept) > 100
        with pytest.raises(OSError, match="timed out"):
            socket.create_connection(to, timeout=1.0)
        rest.works()
        assert rest.knows_of(port) == []
        http.child.kill()  # type: ignore[attr-defined]
        rest.works()
        assert rest.knows_of(port) == []


@pytest.mark.postgres
def test_a_journal_that_is_slow_for_it_alone(
    redis_url: str, postgres_journal_url: str, tmp_path: Path
) -> None:
    """Its transactions take seconds, with their locks, and the last ones stand still for ever."""
    stack = Stack(redis_url, postgres_journal_url, tmp_path, FAST)
    url = make_url(postgres_journal_url)
    key = made_key(stack.database_url, Role.ADMIN)
    with SlowRoute(url.port or 5432, 0.0) as route, ExitStack() as ends:
        ends.callback(stack.close)
        stack.worker()
        rest = Rest(stack)
        slow = url.set(host=LOOPBACK, port=route.port).render_as_string(hide_password=False)
        http = ends.enter_context(served(_env(stack, DATABASE_URL=slow), tmp_path))
        asking = ends.enter_context(ThreadPoolExecutor(8))
        route.delay_s = 0.3
        before = route.carried
        asked = [asking.submit(_written, http, key, n) for n in range(8)]
        rest.works()
        assert {found.result(SOON_S * 4) for found in asked} <= {202, 503}
        assert route.carried > before
        route.delay_s = 3_600.0
        late = [asking.submit(_written, http, key, n) for n in range(8)]
        rest.works()
        http.child.kill()  # type: ignore[attr-defined]
        for found in late:
            found.exception(SOON_S)
        rest.works()


@pytest.mark.postgres
def test_a_journal_that_hangs_is_away(
    redis_url: str, postgres_journal_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its server takes what it is asked, and says nothing: whoever asks hears so after a while."""
    monkeypatch.setattr("api.services._READ_S", 0.5)
    monkeypatch.setattr("api.sending._ACCEPTED_S", 0.5)
    monkeypatch.setattr("api.keys.KNOWN_S", 600.0)
    url = make_url(postgres_journal_url)
    key = made_key(postgres_journal_url, Role.USER)
    with ExitStack() as ends:
        route = ends.enter_context(SlowRoute(url.port or 5432, 0.0))
        slow = url.set(host=LOOPBACK, port=route.port).render_as_string(hide_password=False)
        with in_process(settings(redis_url, slow)) as http:
            user = Asked(http, key)
            # A busy machine may take longer for the first connections.
            eventually(lambda: user("POST", "/tasks", ASK).status_code == 202)
            route.delay_s = 3_600.0
            for told in (
                *(user("GET", "/tasks") for _ in range(12)),  # more than it has threads
                *(user("POST", "/tasks", ASK) for _ in range(4)),
            ):
                assert (told.status_code, told.json()["kind"]) == (503, "journal")
                assert told.headers["retry-after"]
            assert http.get("/health").status_code == 503
            ends.close()  # what hangs breaks off, so that threads end


def _written(http: httpx2.Client, key: str, n: int) -> int:
    """Start a run, and have it, and a key that nobody has, written down; the first's status."""
    user = Asked(http, key)
    told = user("POST", "/tasks", {**ASK, "input": str(n)}, headers={"Idempotency-Key": str(n)})
    user("DELETE", f"/keys/none{n}")
    return int(told.status_code)


@pytest.mark.postgres
def test_a_transaction_that_stands_still_is_undone(postgres_journal_url: str) -> None:
    """What it has locked is free again for others, whom a frozen process would hold up."""
    engine = connect(postgres_journal_url, idle_s=0.5)
    other = connect(postgres_journal_url)
    lock = "SELECT pg_advisory_xact_lock({})"
    taken = "SELECT pg_try_advisory_xact_lock({})"

    def is_free() -> bool:
        with other.begin() as connection:
            return bool(connection.exec_driver_sql(taken.format(7)).scalar_one())

    def stands() -> None:
        with engine.begin() as connection:
            connection.exec_driver_sql(lock.format(7))
            eventually(is_free)
            connection.exec_driver_sql("SELECT 1")

    with pytest.raises(DBAPIError):
        stands()
    with engine.begin() as connection:
        assert connection.exec_driver_sql("SELECT 1").scalar_one() == 1
    engine.dispose()
    other.dispose()
