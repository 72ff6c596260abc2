"""How a step ends, and who hears of it."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest
from celery.exceptions import Ignore, Reject
from sqlalchemy import select

from agents.plan import Expand, Member
from app.execution.attempts.ends import Ended
from app.execution.context import Step
from app.execution.runtime import Runtime
from app.journal.schema.models import Step as StepRow
from app.journal.schema.rows import Claimed
from app.messaging.results import reported
from celery_agents.contracts.ask import StepOptions
from celery_agents.contracts.outcome import ErrorInfo, Outcome, State
from celery_agents.errors import (
    AgentFailedError,
    AgentsError,
    StepCancelledError,
    StepDeadError,
)
from tests.support.claims import claim
from tests.unit.app.execution.task.support import (
    SOON,
    message,
    receive,
    row,
    shout,
    woken,
)


def test_a_step_runs_and_is_written_down(make: Any, runtime: Runtime) -> None:
    task = make(shout)
    assert receive(task, "s", "hello") == "HELLO"
    found = row(runtime, "s")
    assert (found.state, found.queue, found.attempts, found.settled) == ("succeeded", "q", 1, False)
    assert found.payload == {"args": ["hello"], "kwargs": {}}
    assert found.outcome["usage"] == {"calls": 1}
    with message(task, "s"):
        reported(task.request).token = 1
        task.on_success("HELLO", "s")
    until = time.monotonic() + SOON
    while not row(runtime, "s").settled:  # it goes along with the next commit, or soon alone
        assert time.monotonic() < until
        time.sleep(0.02)
    assert runtime.active == {}


def test_a_copy_of_the_message_gets_the_journaled_answer(make: Any, runtime: Runtime) -> None:
    ran: list[int] = []

    def once(step: Step, request: StepOptions) -> int:
        ran.append(1)
        return len(ran)

    task = make(once)
    assert [receive(task, "s", 1), receive(task, "s", 1), woken(task, "s")] == [1, 1, 1]
    assert ran == [1]


def test_called_as_a_function_it_is_one(make: Any) -> None:
    def double(step: Any, request: Any) -> int:
        return int(2 * request)

    assert make(double)(None, 21) == 42


@pytest.mark.parametrize("awaited", [True, False])
@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (AgentFailedError("no", {"a": 1}), AgentFailedError("no", {"a": 1})),
        (ValueError("password=hunter2"), AgentFailedError("ValueError: password=***")),
        (asyncio.CancelledError(), None),
    ],
    ids=["ours", "another", "cancelled by itself"],
)
def test_an_error_ends_the_step(
    make: Any,
    runtime: Runtime,
    raised: BaseException,
    expected: AgentsError | None,
    awaited: bool,
) -> None:
    async def failing(step: Step, request: StepOptions) -> None:
        raise raised

    def failing_at_once(step: Step, request: StepOptions) -> None:
        raise raised

    with pytest.raises(AgentFailedError) as error:
        receive(make(failing if awaited else failing_at_once), "s", 1)
    if expected is not None:
        assert (error.value.message, error.value.details) == (expected.message, expected.details)
    assert row(runtime, "s").state == "failed"
    assert "hunter2" not in json.dumps(row(runtime, "s").outcome)
    assert runtime.active == {}


def test_a_member_ends_with_an_outcome_for_its_parent(make: Any, runtime: Runtime) -> None:
    async def failing(step: Step, request: StepOptions) -> None:
        raise AgentFailedError("no")

    task = make(failing)

    def parent(step: Step, request: StepOptions) -> Expand:
        return Expand(members=(Member(key="m", task=task.name, input=1, options={}, agent="a"),))

    with pytest.raises(Ignore):
        receive(make(parent), "p", 1)
    (one,) = runtime.journal.read(
        lambda c: list(c.execute(select(StepRow.id).where(StepRow.parent_id == "p")).scalars())
    )
    assert woken(task, one) == {"state": "failed", "error": "agent_failed"}  # what Flower shows
    found = Outcome.model_validate(row(runtime, one).outcome)
    assert (found.state, found.member, found.agent, found.attempts) == (State.FAILED, "m", "a", 1)
    assert row(runtime, "p").state == "ready"


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome(state=State.SKIPPED),
        Outcome(state=State.DEAD, error=ErrorInfo.of(StepDeadError("x"))),
        Outcome(state=State.CANCELLED, error=ErrorInfo.of(StepCancelledError())),
    ],
)
def test_only_the_outermost_task_raises(make: Any, outcome: Outcome) -> None:
    task = make(shout)
    with message(task, "s"):
        assert (
            task._report(task.request, Ended(outcome, claim(parent_id="parent")))["state"]
            == outcome.state
        )
        with pytest.raises(AgentsError) as error:
            task._report(task.request, Ended(outcome, claim(payload={})))
        assert reported(task.request).outcome == outcome.compact()
    assert error.value.kind == (outcome.error.kind if outcome.error else "cancelled")


def test_a_late_finisher_tells_nobody(make: Any, runtime: Runtime) -> None:
    def slow(step: Step, request: StepOptions) -> int:
        step.runtime.journal.give_back([step.step_id])
        assert isinstance(step.runtime.journal.claim(step.step_id).result(SOON), Claimed)
        return 1

    with pytest.raises(Ignore, match="too late"):
        receive(make(slow), "s", 1)
    assert row(runtime, "s").state == "running"


def test_a_finish_that_finds_no_row_gives_the_message_back(make: Any, runtime: Runtime) -> None:
    """A database that crashed may have forgotten a claim: it waits for no disk."""

    def slow(step: Step, request: StepOptions) -> int:
        with runtime.journal.engine.begin() as c:
            for name in ("steps", "runs"):
                c.exec_driver_sql(f"DELETE FROM {name}")
        return 1

    with pytest.raises(Reject) as given_back:
        receive(make(slow), "s", 1)
    assert given_back.value.requeue
    assert receive(make(shout), "s", "a") == "A"
