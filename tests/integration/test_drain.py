"""A worker that is asked to stop: what can end, ends; the rest goes to another worker."""

from __future__ import annotations

from pathlib import Path

from tests.integration.harness import SOON_S, Stack, eventually, lines


def test_a_step_that_ends_in_time_is_let(fast: Stack, counted: Path) -> None:
    worker = fast.worker()
    run = fast.client.ask("slow", {"seconds": 1.5, "path": str(counted), "value": "done"})
    eventually(lambda: lines(counted) == ["begin"])
    worker.terminate()
    assert run.get(timeout=SOON_S) == "done"
    assert lines(counted) == ["begin", "end"]


def test_a_step_that_does_not_is_given_to_another_worker(fast: Stack, counted: Path) -> None:
    worker = fast.worker(env={"AGENTS_DRAIN_GRACE_S": "0.5", "AGENTS_LEASE_S": "60"})
    run = fast.client.ask("slow", {"seconds": 3, "path": str(counted), "value": "done"})
    eventually(lambda: lines(counted) == ["begin"])
    fast.worker(env={"AGENTS_LEASE_S": "60"})  # its lease has not run out: it was given back
    worker.terminate()
    assert run.get(timeout=SOON_S) == "done"
    assert lines(counted) == ["begin", "cancelled", "begin", "end"]
    assert fast.row(run.id).attempts == 1  # a worker that stops is no fault of the step
    assert eventually(lambda: worker.returncode is not None)
