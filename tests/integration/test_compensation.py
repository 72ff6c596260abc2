"""A run that fails is undone: what it had done, the last first, each once."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from celery_agents.client.run import Run
from celery_agents.contracts.compensation import compensation_id
from celery_agents.errors import (
    AllCandidatesFailedError,
    CompensationFailedError,
    InvalidPayloadError,
    StepCancelledError,
)
from tests.integration.harness import FAST, PREFORK, SOON_S, Location, Stack, eventually, lines

pytestmark = pytest.mark.databases("one")

TRIP = ["hotel", "flight", "car"]
SAGAS = {"AGENTS_MODULES": '["tests.support.sagas"]'}
UNDONE = ["+hotel", "+flight", "-flight", "-hotel"]


@pytest.fixture
def sagas(own_location: Location) -> Iterator[Stack]:
    """A stack of the test's own, which harms its workers; none has begun."""
    made = Stack(*own_location, FAST | SAGAS)
    yield made
    made.close()


@pytest.fixture(scope="module")
def _common(location: Location) -> Iterator[Stack]:
    made = Stack(*location, FAST | SAGAS)
    made.worker()
    yield made
    made.close()


def trip(
    stack: Stack,
    path: Path,
    agents: Any = TRIP,
    *,
    id: str | None = None,  # noqa: A002 - the client's word
    **order: Any,
) -> Run:
    order["path"] = str(path)
    return stack.client.gather(agents, order, at_least=len(agents), id=id)


def told(report: Any, kind: str) -> list[str]:
    return [one["agent"] for one in report.get(kind, ())]


def test_what_was_done_is_undone_in_reverse_order(common: Stack, counted: Path) -> None:
    undone_in_reverse(common, counted)


def test_so_it_is_where_each_step_has_a_process(sagas: Stack, counted: Path) -> None:
    sagas.worker(PREFORK)
    undone_in_reverse(sagas, counted)


def undone_in_reverse(sagas: Stack, counted: Path) -> None:
    run = trip(sagas, counted, flaky="flight")
    with pytest.raises(AllCandidatesFailedError, match="2 of 3"):
        run.get(timeout=SOON_S)
    report = run.compensation.get(timeout=SOON_S)
    assert lines(counted) == UNDONE
    assert told(report, "compensated") == ["flight", "hotel"]
    assert told(report, "uncertain") == ["car"]
    status = run.status()
    assert status is not None
    assert status["state"] == "failed"
    assert status["compensation"] == {
        "id": run.compensation.id,
        "state": "succeeded",
        "report": report,
    }
    steps = {s["id"]: s for s in status["steps"]}
    members = [s for s in status["steps"] if s["parent_id"] == run.compensation.id]
    assert [s["agent"] for s in members] == ["cancel_booking"] * 2
    assert steps[run.compensation.id]["task"] == "agents.compensate"
    eventually(lambda: sagas.unsettled() == [])
    assert sagas.calls_made_twice() == 0
    sagas.workers[0].wait_for_log(f"[{run.compensation.id}] received")


def test_a_run_that_succeeds_is_left_as_it_is(common: Stack, counted: Path) -> None:
    run = trip(common, counted, ["hotel", "flight"])
    assert run.get(timeout=SOON_S).value["hotel"]
    status = run.status()
    assert status is not None
    assert status["compensation"] is None
    assert lines(counted) == ["+hotel", "+flight"]


def test_a_worker_that_dies_while_undoing(sagas: Stack, counted: Path) -> None:
    worker = sagas.worker()
    run = trip(sagas, counted, kill="hotel")
    eventually(lambda: "killed at hotel" in lines(counted))
    eventually(lambda: not worker.running)
    sagas.worker()
    report = run.compensation.get(timeout=SOON_S)
    assert told(report, "compensated") == ["flight", "hotel"]
    assert lines(counted) == ["+hotel", "+flight", "-flight", "killed at hotel", "-hotel"]


def test_what_cannot_be_undone_is_a_dead_letter(common: Stack, counted: Path) -> None:
    run = trip(common, counted, stuck="flight")
    with pytest.raises(CompensationFailedError, match=r"1 of 2 steps .* closed for good") as caught:
        run.compensation.get(timeout=SOON_S)
    assert told(caught.value.details, "compensated") == ["hotel"]
    assert told(caught.value.details, "failed") == ["flight"]
    common.workers[0].wait_for_log("could not be undone")
    undoing = compensation_id(run.id)
    eventually(lambda: common.unsettled() == [])
    assert undoing in [d["id"] for d in common.client.dead_letters.list()]
    # Somebody opens the desk and asks for it again: only what was left is undone.
    counted.with_name(counted.name + ".open").touch()
    common.client.dead_letters.requeue(undoing)
    report = run.compensation.get(timeout=SOON_S)
    assert told(report, "compensated") == ["flight", "hotel"]
    assert lines(counted) == ["+hotel", "+flight", "-hotel", "-flight"]
    assert undoing not in [d["id"] for d in common.client.dead_letters.list()]


def test_a_cancelled_run_is_undone_too(common: Stack, counted: Path) -> None:
    run = trip(common, counted, ["hotel", "ferry"])
    eventually(lambda: set(lines(counted)) == {"+hotel", "ferry begins"})
    run.cancel()
    with pytest.raises(StepCancelledError):
        run.get(timeout=SOON_S)
    report = run.compensation.get(timeout=SOON_S)
    assert told(report, "compensated") == ["hotel"]
    assert told(report, "uncertain") == ["ferry"]  # nobody knows how far it had come
    assert lines(counted)[-1] == "-hotel"


def test_nobody_else_can_ask_for_it_or_stand_in_its_way(common: Stack, counted: Path) -> None:
    run_id = str(uuid.uuid4())
    undoing = compensation_id(run_id)
    trip(common, counted, ["hotel", "ferry"], id=run_id)
    eventually(lambda: set(lines(counted)) == {"+hotel", "ferry begins"})
    forged = common.client.celery.send_task(
        "agents.compensate", kwargs={"run_id": run_id}, task_id=undoing, queue="agents"
    )
    with pytest.raises(InvalidPayloadError):
        forged.get(timeout=SOON_S)
    common.client.runs.cancel(run_id)
    eventually(lambda: common.state(undoing) == "succeeded")
    assert lines(counted)[2:] == ["-hotel"]
