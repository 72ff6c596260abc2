"""The load tester against real workers: it sees a freeze, and what a worker can do."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import pytest
from sqlalchemy import func, select

from app.journal.schema.models import Step
from tests.integration.harness import Stack, celery, eventually
from tests.support.service import APP

pytestmark = pytest.mark.databases("sqlite")

FREEZE_S = 3.0


def loaded(stack: Stack, *options: str) -> dict[str, Any]:
    """The report of a test by the command."""
    done = celery("-A", APP, "agents", "load", *options, "--json", env=stack.env)
    assert done.stdout.strip(), done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert "error" not in found, found
    assert done.returncode == (0 if found["ok"] else 1)
    return found


def test_a_freeze_is_seen(fast: Stack) -> None:
    """A tester that waits for answers would ask nothing meanwhile, and find all quick."""
    lasting = {"AGENTS_LEASE_S": "60", "AGENTS_HEARTBEAT_INTERVAL_S": "1"}
    worker = fast.worker(env=lasting)
    page = fast.directory / "report.html"

    def freeze() -> None:
        eventually(lambda: fast.counts() > 20)
        fast.freeze(worker)
        time.sleep(FREEZE_S)
        worker.resume()

    thread = threading.Thread(target=freeze)
    thread.start()
    try:
        options = ("--rate", "20", "--for", "10", "--errors", "0", "--html", str(page))
        report = loaded(fast, "noop", *options)
    finally:
        thread.join()
    assert report["sent"] == report["ended"] == 200
    assert (report["lost"], report["not_once"], report["paid_twice"]) == (0, 0, 0)
    assert report["latency"]["p99_s"] >= FREEZE_S - 0.5
    assert "<svg" in page.read_text()


def test_the_knee_is_what_the_slots_can_do(fast: Stack) -> None:
    """Eight slots, each taken for as long as its rows say that a step took.

    Within a fifth: rows of a busy machine are of all stages, and its knee of the last ones. Within
    a tenth it is where time is told, in the tests of the policy.
    """
    fast.worker(["--concurrency", "8", "--without-mingle", "-Q", "agents,agents.control"])
    report = loaded(fast, "rests", "--profile", "stress", "--rate", "10:100", "--for", "8")
    took = select(func.avg(Step.finished_at - Step.started_at))
    capacity = 8 / float(fast.read(lambda c: c.execute(took).scalar_one()))
    assert report["knee"] is not None, report["found"]
    assert abs(report["knee"]["rate"] - capacity) <= 0.2 * capacity, (
        capacity,
        report["knee"],
        report["stages"],
    )
    assert report["lost"] == report["paid_twice"] == 0
    assert {stage["held"] for stage in report["stages"]} == {False, True}


def test_a_rate_that_is_none_is_told(fast: Stack) -> None:
    done = celery("-A", APP, "agents", "load", "noop", "--rate", "x", "--json", env=fast.env)
    assert done.returncode == 2
    assert "is no rate" in done.stdout


def test_lost_runs_are_told(fast: Stack) -> None:
    """Nobody serves them, so they have no end within their time."""
    options = ("--rate", "5", "--for", "1", "--drain", "0.5")
    report = loaded(fast, "noop", *options)
    assert (report["sent"], report["ended"], report["lost"]) == (5, 0, 5)
    assert not report["ok"]
