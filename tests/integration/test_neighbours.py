"""Other apps on the broker: nothing disturbs them, and what they do with results is told."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from celery_agents.errors import ConfigurationError, StepCancelledError
from tests.integration.harness import COROUTINES, FAST, SOON_S, Stack, eventually, lines
from tests.support.redis_server import DATABASES, RedisServer

pytestmark = pytest.mark.databases("sqlite")

#: Celery's own: it looks again at what was revoked as it gets its slot; its threads do not.
ONE = ["--pool", "prefork", "--concurrency", "1", "-Q", "shop", "--loglevel", "INFO"]
ENTRIES = textwrap.dedent("""
    [agents.shop_slow]
    kind = "celery"
    task = "shop.slow"
    queue = "shop"
    {more}

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
Make = Callable[..., Stack]


@pytest.fixture
def make(redis_url: str, sqlite_journal_url: str, tmp_path: Path) -> Iterator[Make]:
    """Makes a stack of our worker and the shop's; ``results`` is where the shop keeps its own."""
    made: list[Stack] = []

    def make(results: str = "", more: str = "", env: dict[str, str] | None = None) -> Stack:
        config = tmp_path / "agents.toml"
        config.write_text(ENTRIES.format(more=more))
        stack = Stack(
            redis_url,
            sqlite_journal_url,
            tmp_path,
            {**FAST, "AGENTS_CONFIG": str(config), "SHOP_RESULTS": results, **(env or {})},
        )
        made.append(stack)
        ours = stack.worker(COROUTINES, ready=False)
        theirs = stack.worker(ONE, app="tests.support.sample_app", ready=False)
        ours.wait_ready()
        theirs.wait_ready()
        return stack

    yield make
    for stack in made:
        stack.close()


@pytest.fixture
def elsewhere(shared_broker: RedisServer) -> str:
    """Another Redis."""
    return shared_broker.fresh_url()


def test_cancelling_revokes_their_task_and_makes_no_error(make: Make, tmp_path: Path) -> None:
    stack = make()
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


def test_a_worker_that_stops_revokes_nothing(make: Make, tmp_path: Path) -> None:
    """Another one goes on to wait for the same task."""
    stack = make()
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


RESULTS: dict[str, tuple[Callable[[str, str], str], str, str]] = {
    "ignored": (lambda own, _: own, "shop_silent", "ignore_result"),
    "ignored, of an effect": (lambda own, _: own, "shop_silent_effect", "ignore_result"),
    "of no such task": (lambda own, _: own, "shop_unknown", "has the task"),
    "in another database": (lambda own, _: _next_database(own), "shop_slow", "result_url"),
    "in another server": (lambda _, other: other, "shop_slow", "result_url"),
    "in the asker's queue": (lambda *_: "rpc://", "shop_slow", "result_url"),
    "nowhere": (lambda *_: "disabled://", "shop_slow", "result_url"),
}


@pytest.mark.parametrize("where", RESULTS)
def test_results_that_cannot_come_are_told_at_once(
    make: Make, redis_url: str, elsewhere: str, tmp_path: Path, where: str
) -> None:
    results, agent, word = RESULTS[where]
    stack = make(results(redis_url, elsewhere))
    path = tmp_path / "ran"
    began = time.monotonic()
    run = stack.client.ask(agent, {"path": str(path), "seconds": 0})
    with pytest.raises(ConfigurationError, match=word) as told:
        run.get(timeout=SOON_S)
    assert time.monotonic() - began < SOON_S  # an attempt has 120 s
    assert "shop." in str(told.value)
    row = stack.row(run.id)
    assert (row.state, row.attempts) == ("failed", 1)
    ran = [] if "effect" in agent or "unknown" in agent else ["ran"]
    assert lines(path) == ran  # an effect is not had for nothing


@pytest.mark.parametrize("by", ["result_url", "result_url_env"])
def test_results_are_read_where_the_entry_says(
    make: Make, elsewhere: str, tmp_path: Path, by: str
) -> None:
    more = f'result_url = "{elsewhere}"' if by == "result_url" else 'result_url_env = "SHOP_URL"'
    stack = make(elsewhere, more, {"SHOP_URL": elsewhere})
    run = stack.client.ask("shop_slow", {"path": str(tmp_path / "ran"), "seconds": 0})
    assert run.get(timeout=SOON_S) == "slowly"


@pytest.mark.parametrize("agent", ["shop_slow", "shop_later"])
def test_who_only_takes_long_is_waited_for(make: Make, tmp_path: Path, agent: str) -> None:
    stack = make()
    orders: list[dict[str, Any]] = [
        {"path": str(tmp_path / str(n)), "seconds": 3}
        for n in range(3)  # one after the other
    ]
    runs = stack.client.ask.many(agent, orders)
    assert stack.client.runs.collect(runs, timeout=60) == ["slowly"] * 3
