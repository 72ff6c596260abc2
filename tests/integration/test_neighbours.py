"""Other apps on the broker: nothing disturbs them, and what they do with results is told."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from celery_agents.errors import ConfigurationError, StepCancelledError
from tests.integration.harness import COROUTINES, FAST, SOON_S, Location, Stack, eventually, lines
from tests.support.fixtures import _broker_at
from tests.support.redis_server import DATABASES
from tests.support.workers import WorkerProcess

pytestmark = pytest.mark.databases("sqlite")

#: Celery's own: it looks again at what was revoked as it gets its slot; its threads do not.
_ONE = ["--pool", "prefork", "--concurrency", "1", "--loglevel", "INFO", "-Q"]
ONE, ELSEWHERE = [*_ONE, "shop"], [*_ONE, "shop.elsewhere"]
ENTRIES = textwrap.dedent("""
    [agents.shop_slow]
    kind = "celery"
    task = "shop.slow"
    queue = "shop"

    [agents.shop_elsewhere]
    kind = "celery"
    task = "shop.slow"
    queue = "shop.elsewhere"

    [agents.shop_read]
    kind = "celery"
    task = "shop.slow"
    queue = "shop.elsewhere"
    result_url = "{elsewhere}"

    [agents.shop_read_env]
    kind = "celery"
    task = "shop.slow"
    queue = "shop.elsewhere"
    result_url_env = "SHOP_URL"

    [agents.shop_silent]
    kind = "celery"
    task = "shop.silent"
    queue = "shop"

    [agents.shop_silent_effect]
    kind = "celery"
    task = "shop.silent"
    queue = "shop"
    effects = "effect"

    [agents.shop_later]
    kind = "celery"
    task = "shop.later"
    queue = "shop"

    [agents.shop_unknown]
    kind = "celery"
    task = "shop.of_another_name"
    queue = "shop"
    effects = "effect"
""")


def entries(directory: Path, elsewhere: str) -> dict[str, str]:
    """The environment of our worker: the shop's tasks are agents."""
    config = directory / "agents.toml"
    config.write_text(ENTRIES.format(elsewhere=elsewhere))
    return {**FAST, "AGENTS_CONFIG": str(config), "SHOP_URL": elsewhere}


def begun(stack: Stack) -> Stack:
    """With a worker of ours, and one of the shop, whose results are where its messages are."""
    for worker in (
        stack.worker(COROUTINES, ready=False),
        stack.worker(ONE, app="tests.support.sample_app", ready=False),
    ):
        worker.wait_ready()
    return stack


@pytest.fixture
def both(redis_url: str, sqlite_journal_url: str, tmp_path: Path) -> Iterator[Stack]:
    """Workers of a test's own."""
    env = entries(tmp_path, redis_url)
    made = Stack(redis_url, sqlite_journal_url, tmp_path, env)
    yield begun(made)
    made.close()


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Another Redis."""
    with _broker_at(tmp_path_factory.mktemp("elsewhere")) as server:
        yield server.fresh_url()


@pytest.fixture(scope="module")
def market(location: Location, elsewhere: str) -> Iterator[Stack]:
    """Workers for the tests that only ask."""
    made = Stack(*location, entries(location.directory, elsewhere))
    yield begun(made)
    made.close()


@pytest.fixture
def branch(market: Stack) -> Iterator[Callable[[str], None]]:
    """Starts a worker of the shop, on a queue of its own, that keeps its results somewhere."""
    begun: list[WorkerProcess] = []

    def start(results: str) -> None:
        env = {"SHOP_RESULTS": results}
        begun.append(market.worker(ELSEWHERE, app="tests.support.sample_app", env=env))

    yield start
    for worker in begun:
        worker.kill()


def test_cancelling_revokes_their_task_and_makes_no_error(both: Stack, tmp_path: Path) -> None:
    stack = both
    client, busy, waits = stack.client, tmp_path / "busy", tmp_path / "waits"
    seen = tmp_path / "seen"
    first = client.ask("shop_slow", {"path": str(busy), "seconds": 0, "after": str(seen)})
    eventually(lambda: lines(busy))  # it has their only slot
    runs = [
        client.ask("shop_slow", {"path": str(waits), "seconds": 0}),
        client.vote(["shop_slow", "hangs"], {"path": str(waits), "seconds": 0}),
        client.fallback(
            ["shop_slow", "slow_yes"], {"path": str(waits), "seconds": 0}, strategy="parallel"
        ),
    ]
    eventually(lambda: stack.redis.hlen("unacked") == 3)  # plain kombu's: they were sent
    for run in runs[:2]:
        client.runs.cancel(run.id)
        with pytest.raises(StepCancelledError):
            run.get(timeout=SOON_S)
    assert runs[2].get(timeout=SOON_S) == "yes"  # the other candidate's
    seen.touch()
    assert first.get(timeout=SOON_S) == "slowly"
    states = [k for k in _keys(stack) if stack.client.celery.AsyncResult(k).state != "SUCCESS"]
    eventually(lambda: {stack.client.celery.AsyncResult(k).state for k in states} == {"REVOKED"})
    assert len(states) == 3
    assert lines(waits) == []
    eventually(lambda: stack.workers[1].logs().count("Discarding revoked task") == 3)
    log = stack.workers[1].logs()
    assert "ERROR" not in log
    assert "Traceback" not in log


def _keys(stack: Stack) -> set[str]:
    """Ids of the tasks that were sent to the shop."""
    rows = [
        row
        for step in stack.read(lambda c: c.exec_driver_sql("SELECT id FROM steps").all())
        for row in stack.calls(step.id)
    ]
    return {row.idempotency_key for row in rows if row.name.startswith("celery:")}


def test_a_worker_that_stops_revokes_nothing(both: Stack, tmp_path: Path) -> None:
    """Another one goes on to wait for the same task."""
    stack = both
    path = tmp_path / "ran"
    run = stack.client.ask("shop_slow", {"path": str(path), "seconds": 4})
    eventually(lambda: lines(path))
    stack.worker(COROUTINES)
    stack.workers[0].terminate()
    assert run.get(timeout=SOON_S) == "slowly"
    assert lines(path) == ["ran"]
    assert "revoked" not in stack.workers[1].logs()


def _next_database(url: str) -> str:
    server, _, number = url.rpartition("/")
    return f"{server}/{int(number) % (DATABASES - 1) + 1}"


#: Where the shop keeps its results, if not where its messages are; who is asked; what is said.
RESULTS: dict[str, tuple[Callable[[str, str], str] | None, str, str]] = {
    "ignored": (None, "shop_silent", "ignore_result"),
    "ignored, of an effect": (None, "shop_silent_effect", "ignore_result"),
    "of no such task": (None, "shop_unknown", "has the task"),
    "in another database": (lambda own, _: _next_database(own), "shop_elsewhere", "result_url"),
    "in another server": (lambda _, other: other, "shop_elsewhere", "result_url"),
    "in the asker's queue": (lambda *_: "rpc://", "shop_elsewhere", "result_url"),
    "nowhere": (lambda *_: "disabled://", "shop_elsewhere", "result_url"),
}


@pytest.mark.parametrize("where", RESULTS)
def test_results_that_cannot_come_are_told_at_once(
    market: Stack, branch: Callable[[str], None], elsewhere: str, tmp_path: Path, where: str
) -> None:
    results, agent, word = RESULTS[where]
    if results is not None:
        branch(results(market.redis_url, elsewhere))
    path = tmp_path / "ran"
    began = time.monotonic()
    run = market.client.ask(agent, {"path": str(path), "seconds": 0})
    with pytest.raises(ConfigurationError, match=word) as told:
        run.get(timeout=SOON_S)
    assert time.monotonic() - began < SOON_S  # an attempt has 120 s
    assert "shop." in str(told.value)
    row = market.row(run.id)
    assert (row.state, row.attempts) == ("failed", 1)
    ran = [] if "effect" in agent or "unknown" in agent else ["ran"]
    assert lines(path) == ran  # an effect is not had for nothing


def test_results_are_read_where_the_entry_says(
    market: Stack, branch: Callable[[str], None], elsewhere: str, tmp_path: Path
) -> None:
    branch(elsewhere)
    for agent in ("shop_read", "shop_read_env"):
        run = market.client.ask(agent, {"path": str(tmp_path / agent), "seconds": 0})
        assert run.get(timeout=SOON_S) == "slowly"


@pytest.mark.parametrize("agent", ["shop_slow", "shop_later"])
def test_who_only_takes_long_is_waited_for(market: Stack, tmp_path: Path, agent: str) -> None:
    orders: list[dict[str, Any]] = [
        {"path": str(tmp_path / str(n)), "seconds": 3}
        for n in range(3)  # one after the other
    ]
    runs = market.client.ask.many(agent, orders)
    assert market.client.runs.collect(runs, timeout=60) == ["slowly"] * 3
