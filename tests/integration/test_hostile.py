"""What nobody should send: workers stay up, and whoever stands by is served."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from celery_agents import RetryPolicy
from celery_agents.errors import StepDeadError
from tests.integration.harness import SOON_S, Stack, eventually, lines
from tests.support.raw_messages import raw_message, take
from tests.support.workers import WorkerProcess

pytestmark = pytest.mark.databases("sqlite")

#: Raw messages of one test, from seeds of their own.
MESSAGES = 400
#: Bytes that a worker may grow by.
GROWTH = 100 * 10**6


def rss(worker: WorkerProcess) -> int:
    return int(psutil.Process(worker.pid).memory_info().rss)


def test_what_computes_on_the_loop_ends_as_a_dead_letter(fast: Stack, tmp_path: Path) -> None:
    workers = [fast.worker() for _ in range(2)]
    began = tmp_path / "began"
    before = max(map(rss, workers))
    order: dict[str, Any] = {"path": str(began), "seconds": 60}
    run = fast.client.ask("computes", order, retry=RetryPolicy(max_attempts=2))
    served = 0
    while fast.state(run.id) != "dead":
        assert fast.client.ask("noop", served).get(timeout=SOON_S) == served
        served += 1
        time.sleep(0.05)
        assert served < 2_000
    with pytest.raises(StepDeadError, match="Given up after 2 attempts"):
        run.get(timeout=SOON_S)
    assert len(lines(began)) == 2
    assert served >= 4  # what the other worker took
    assert [letter["id"] for letter in fast.client.dead_letters()] == [run.id]
    assert all(worker.running for worker in workers)
    assert max(map(rss, workers)) - before < GROWTH


def test_raw_messages_of_any_shape(fast: Stack) -> None:
    worker = fast.worker()
    assert fast.client.ask("noop", "first").get(timeout=SOON_S) == "first"
    before = rss(worker)
    unreadable = 0
    for seed in range(MESSAGES):
        raw = raw_message(random.Random(seed))
        # What is compressed is decompressed by the worker alone.
        unreadable += take(raw) not in {"task", "unreadable_body"}
        fast.redis.lpush("agents", raw)
        if seed % 40 == 0:
            began = time.monotonic()
            assert fast.client.ask("noop", seed).get(timeout=SOON_S) == seed
            assert time.monotonic() - began < SOON_S / 2
    eventually(lambda: fast.depth() == 0 and fast.unacked() == 0)
    assert worker.running
    assert fast.client.ask("noop", "still").get(timeout=SOON_S) == "still"
    assert unreadable > MESSAGES / 4
    eventually(lambda: len(fast.client.dead_letters(limit=1_000)) >= unreadable)  # none is lost
    assert len(fast.client.dead_letters(limit=1_000)) <= MESSAGES
    assert rss(worker) - before < GROWTH
