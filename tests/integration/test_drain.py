"""A worker that is asked to stop: what can end, ends; the rest goes to another worker."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from celery_agents.contracts.base import JsonValue
from tests.integration.harness import COROUTINES, PREFORK, SOON_S, Stack, eventually, lines

pytestmark = pytest.mark.databases("sqlite")


def test_a_step_that_ends_in_time_is_let(fast: Stack, counted: Path) -> None:
    worker = fast.worker()
    run = fast.client.ask("slow", {"seconds": 1.5, "path": str(counted), "value": "done"})
    eventually(lambda: lines(counted) == ["begin"])
    worker.terminate()
    assert run.get(timeout=SOON_S) == "done"
    assert lines(counted) == ["begin", "end"]


@pytest.mark.parametrize("pool", [COROUTINES, PREFORK], ids=["coroutines", "prefork"])
def test_a_step_that_does_not_is_given_to_another_worker(
    fast: Stack, counted: Path, pool: list[str]
) -> None:
    worker = fast.worker(pool, env={"AGENTS_DRAIN_GRACE_S": "0.5", "AGENTS_LEASE_S": "60"})
    may_end = counted.with_name("may end")
    order: dict[str, JsonValue] = {"after": str(may_end), "path": str(counted), "value": "done"}
    run = fast.client.ask("slow", order)
    eventually(lambda: lines(counted) == ["begin"])
    worker.send(signal.SIGTERM)
    eventually(lambda: lines(counted) == ["begin", "cancelled"])
    may_end.touch()
    fast.worker(env={"AGENTS_LEASE_S": "60"})  # its lease has not run out: it was given back
    assert run.get(timeout=SOON_S) == "done"
    assert lines(counted) == ["begin", "cancelled", "begin", "end"]
    assert fast.row(run.id).attempts == 1  # a worker that stops is no fault of the step
    assert eventually(lambda: worker.returncode is not None)
    assert worker.returncode == 0


def test_every_child_gives_back(fast: Stack, counted: Path) -> None:
    """After the grace time, not at the end of a lease or of the slowest step."""
    env = {"AGENTS_DRAIN_GRACE_S": "1", "AGENTS_LEASE_S": "600"}
    worker = fast.worker([*PREFORK, "--concurrency", "3"], env=env)
    may_end = counted.with_name("may end")
    order: dict[str, JsonValue] = {"after": str(may_end), "path": str(counted), "value": 1}
    runs = fast.client.ask.many("slow", [order] * 3)
    eventually(lambda: lines(counted) == ["begin"] * 3)
    worker.send(signal.SIGTERM)
    eventually(lambda: {fast.state(run.id) for run in runs} == {"ready"})
    may_end.touch()
    fast.worker(env={"AGENTS_LEASE_S": "60"})
    assert [run.get(timeout=SOON_S) for run in runs] == [1] * 3
    assert lines(counted).count("cancelled") == 3
    assert {fast.row(run.id).attempts for run in runs} == {1}
    eventually(lambda: worker.returncode == 0)
    eventually(lambda: not fast.unacked())


#: A process of its own numbers, as that of a container: process 1 gets no signal by default, only
#: what it asked for.
AS_FIRST = ["unshare", "--pid", "--fork", "--kill-child"]


def _may_unshare() -> bool:
    try:
        return subprocess.run([*AS_FIRST, "true"], check=False, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not _may_unshare(), reason="no namespaces for this user")
def test_process_one_loses_nothing_under_load(fast: Stack, counted: Path) -> None:
    """SIGTERM amid it: what has begun ends or is given back, the rest waits for the next worker."""
    worker = fast.worker(env={"AGENTS_DRAIN_GRACE_S": "2"}, prefix=AS_FIRST)
    order: dict[str, JsonValue] = {"seconds": 0.2, "path": str(counted), "value": 1}
    may_end = counted.with_name("may end")
    last: dict[str, JsonValue] = {**order, "after": str(may_end)}
    runs = fast.client.ask.many("slow", [order] * 100 + [last] * 20)
    eventually(lambda: lines(counted).count("end") >= 10)
    (first,) = psutil.Process(worker.pid).children()
    began = time.monotonic()
    first.send_signal(signal.SIGTERM)
    eventually(lambda: worker.returncode is not None, timeout_s=90)
    assert time.monotonic() - began < 90
    assert worker.returncode == 0
    assert lines(counted).count("end") <= 100  # it was amid it
    may_end.touch()
    fast.worker()
    assert [run.get(timeout=2 * SOON_S) for run in runs] == [1] * 120
    assert lines(counted).count("end") == 120  # each once
    eventually(lambda: not fast.unsettled())
