"""The core under each pool and on each database; other modules have coroutines."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import make_url

from celery_agents import RetryPolicy
from celery_agents.contracts.base import JsonValue
from celery_agents.errors import AgentFailedError, DeadlineExceededError, StepCancelledError
from tests.integration.harness import (
    COROUTINES,
    FAST,
    PREFORK,
    SOON_S,
    THREADS,
    Stack,
    eventually,
    lines,
)
from tests.support.drawn import in_turn
from tests.support.postgres import Databases
from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.databases("both")

POOLS = {
    "coroutines": COROUTINES,
    "threads": THREADS,
    "prefork": [*PREFORK, "--concurrency", "4"],
}
QUICK = RetryPolicy(base_delay_s=0.05)


@pytest.fixture(
    scope="module",
    params=in_turn(
        [
            "threads-sqlite",
            pytest.param("coroutines-postgres", marks=pytest.mark.postgres),
            pytest.param("prefork-postgres", marks=pytest.mark.postgres),
            "prefork-sqlite",
        ],
        0,
        part=2,
    ),
)
def made(
    request: pytest.FixtureRequest,
    shared_broker: RedisServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Stack]:
    """A stack of that pool and database."""
    pool, database = request.param.split("-")
    directory = tmp_path_factory.mktemp(request.param)
    server: Databases | None = None
    if database == "sqlite":
        source = request.getfixturevalue("_migrated_sqlite")
        shutil.copyfile(source, directory / "journal.db")
        url = f"sqlite:///{directory / 'journal.db'}"
    else:
        server = request.getfixturevalue("postgres")
        template = make_url(request.getfixturevalue("_migrated_postgres")).database
        url = server.create(template=template)
    stack = Stack(shared_broker.fresh_url(), url, directory, FAST)
    try:
        stack.worker(POOLS[pool])
        yield stack
    finally:
        stack.close()
        if server is not None:
            server.drop(url)


def test_asks(made: Stack) -> None:
    runs = made.client.ask.many("shout", [f"w{n}" for n in range(20)])
    assert [r.get(timeout=SOON_S) for r in runs] == [f"W{n}" for n in range(20)]


@pytest.mark.parametrize("value", ["a\x00b", "\ud800", 10**400, {"a\x00": [1e308]}])
def test_odd_values(made: Stack, value: JsonValue) -> None:
    assert made.client.ask("noop", value).get(timeout=SOON_S) == value


def test_retries(made: Stack, counted: Path) -> None:
    run = made.client.ask("two_calls", {"path": str(counted)}, retry=QUICK)
    assert run.get(timeout=SOON_S) == "first of attempt 1, second of attempt 2"
    assert len(made.events(run.id, "retry")) == 1


def test_fails(made: Stack) -> None:
    with pytest.raises(AgentFailedError, match="so be it"):
        made.client.ask("refused", "so be it").get(timeout=SOON_S)


def test_times_out(made: Stack, counted: Path) -> None:
    run = made.client.ask(
        "slow",
        {"seconds": 30, "path": str(counted)},
        timeout_s=0.5,
        retry=RetryPolicy(max_attempts=1),
    )
    with pytest.raises(DeadlineExceededError):
        run.get(timeout=SOON_S)
    assert lines(counted) == ["begin", "cancelled"]


def test_is_cancelled(made: Stack, counted: Path) -> None:
    run = made.client.ask("slow", {"seconds": 60, "path": str(counted)})
    eventually(lambda: lines(counted))
    run.cancel()
    with pytest.raises(StepCancelledError):
        run.get(timeout=SOON_S)
    eventually(lambda: lines(counted) == ["begin", "cancelled"])


def test_races(made: Stack) -> None:
    run = made.client.fallback(["hangs", "slow_yes"], "?", strategy="parallel")
    assert run.get(timeout=SOON_S) == "yes"
    eventually(lambda: made.members(run.id)["hangs"].finished_at)


def test_votes_in_a_chain(made: Stack) -> None:
    client = made.client
    whole = client.ask.s("noop", "?") | client.vote.s(["yes", "no", "yes"]) | client.ask.s("noop")
    assert whole.apply_async().get(timeout=SOON_S)["option"] == "yes"


def test_status(made: Stack) -> None:
    run = made.client.ask("shout", "x")
    run.get(timeout=SOON_S)
    status = run.status()
    assert status is not None
    assert status["state"] == "succeeded"


def test_leaves_nothing_open(made: Stack) -> None:
    eventually(lambda: made.unsettled() == [] and made.depth() == 0 and made.unacked() == 0)
    eventually(lambda: not made.redis.exists("agents:intake"))
    assert made.calls_made_twice() == 0


def test_nothing_went_wrong_behind_it(made: Stack) -> None:
    (worker,) = made.workers
    for sign in ("Recovery waits", "Recovery failed", "Heartbeat", "refused a"):
        assert sign not in worker.logs()
