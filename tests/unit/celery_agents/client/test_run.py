from __future__ import annotations

import asyncio
from typing import Any

import pytest

from celery_agents.client.client import Client
from celery_agents.client.run import DecisionRun, Run
from celery_agents.contracts.outcome import Outcome, State, Usage
from celery_agents.contracts.vote import Decision
from celery_agents.errors import AllCandidatesFailedError, RateLimitedError, ResultTimeoutError
from tests.support.stored_results import worker_says

DECISION = {
    "option": "yes",
    "decided_by": "rule",
    "rule": "majority",
    "stopped_by": "exact",
    "consensus": 1.0,
    "tally": {"yes": 1},
    "scores": {"yes": "1/2"},
    "ballots": [{"voter": "a", "option": "yes"}],
    "abstentions": {},
    "quorum": 1,
    "quorum_met": True,
    "samples_used": 1,
    "samples_saved": 0,
    "usage": {},
    "saved_cost_usd": None,
}


def test_a_value(client: Client) -> None:
    run = Run(client.runs, "r")
    told = Outcome(state=State.SUCCEEDED, value={"a": 1}, attempts=2, usage=Usage(calls=3))
    worker_says(client, "r", {"a": 1}, told)
    assert run.ready()
    assert run.get(timeout=5) == {"a": 1}
    assert run.outcome() == told
    run.forget()
    assert not client.runs.handle("r").ready()


def test_a_run_can_be_awaited(client: Client) -> None:
    async def both() -> Any:
        run = Run(client.runs, "r")
        waiting = asyncio.ensure_future(run._wait())
        await asyncio.sleep(0.05)
        await asyncio.to_thread(worker_says, client, "r", 5)
        return await waiting, await run

    assert asyncio.run(both()) == (5, 5)


@pytest.mark.parametrize(
    "error",
    [
        RateLimitedError("slowly", {"retry_after_s": 2}),
        AllCandidatesFailedError("no", {"errors": {"a": {"kind": "timeout", "message": "m"}}}),
    ],
)
def test_a_failed_run_raises_the_workers_error(client: Client, error: Any) -> None:
    worker_says(client, "r", error, Outcome(state=State.FAILED, attempts=4))
    with pytest.raises(type(error)) as raised:
        Run(client.runs, "r").get(timeout=5)
    assert (raised.value.message, raised.value.details) == (error.message, error.details)
    outcome = Run(client.runs, "r").outcome()
    assert outcome is not None
    assert (outcome.state, outcome.attempts, outcome.value) == (State.FAILED, 4, None)


def test_no_result_in_time(client: Client) -> None:
    with pytest.raises(ResultTimeoutError, match="The run goes on"):
        Run(client.runs, "r").get(timeout=0.05)
    assert Run(client.runs, "r").outcome() is None


def test_another_apps_task_has_an_outcome_too(client: Client) -> None:
    worker_says(client, "r", 5)
    outcome = Run(client.runs, "r").outcome()
    assert outcome is not None
    assert outcome.state is State.SUCCEEDED


def test_a_decision(client: Client) -> None:
    worker_says(client, "r", DECISION)
    found = DecisionRun(client.runs, "r").get(timeout=5)
    assert isinstance(found, Decision)
    assert (found.option, found.ballots[0].voter) == ("yes", "a")
