"""Which attempts are followed by another, and when."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any

import pytest
from celery.exceptions import Ignore, Retry
from sqlalchemy.exc import TimeoutError  # noqa: A004

from app.execution.context import Step
from app.execution.runtime import Runtime
from app.execution.task import StepTask
from app.journal.queries import reads
from app.journal.steps import dead_letters
from celery_agents.contracts.ask import StepOptions
from celery_agents.contracts.outcome import Answer
from celery_agents.errors import (
    AgentsError,
    BreakerOpenError,
    DeadlineExceededError,
    LoopStalledError,
    ProviderUnavailableError,
    RateLimitedError,
    StepCancelledError,
    StepDeadError,
)
from tests.unit.app.execution.task.support import (
    Run,
    due,
    flaky,
    receive,
    row,
    woken,
)


def test_a_retryable_error_is_tried_again(make: Any, runtime: Runtime) -> None:
    task = make(flaky())
    with pytest.raises(Retry) as retry:
        receive(task, "s", 1, retry={"base_delay_s": 0})
    assert isinstance(retry.value.exc, ProviderUnavailableError)
    found = row(runtime, "s")
    assert (found.state, found.error["kind"]) == ("ready", "unavailable")
    assert woken(task, "s") == "at last"
    assert row(runtime, "s").attempts == 2


REFUSED = {"breaker_open": BreakerOpenError, "rate_limited": RateLimitedError}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_was_refused_is_no_attempt(make: Any, runtime: Runtime, kind: str) -> None:
    tries: list[int] = []

    async def guarded(step: Step, request: StepOptions) -> str:
        tries.append(step.tries)
        if step.tries <= 3:
            raise REFUSED[kind]("later", {"retry_after_s": 0.01})
        return f"attempt {step.attempt}"

    task = make(guarded)
    once = {"max_attempts": 1, "base_delay_s": 0}
    with pytest.raises(Retry):
        receive(task, "s", 1, retry=once)
    assert (row(runtime, "s").attempts, row(runtime, "s").error["kind"]) == (0, kind)
    for _ in range(2):
        with pytest.raises(Retry):
            woken(task, due(runtime, "s"))
    assert woken(task, due(runtime, "s")) == "attempt 1"
    assert (row(runtime, "s").attempts, tries) == (1, [1, 2, 3, 4])
    assert runtime.journal.read(reads.retries) == 0


def test_its_first_refusal_gives_a_step_a_deadline(make: Any, runtime: Runtime) -> None:
    async def refused(step: Step, request: StepOptions) -> str:
        raise RateLimitedError("slowly")

    task, limit_s = make(refused), runtime.settings.refusal_limit_s
    with pytest.raises(Retry):
        receive(task, "open", 1)
    with pytest.raises(Retry):
        receive(task, "own", 1, deadline_s=900)
    for step_id, seconds in {"open": limit_s, "own": 900}.items():
        found = row(runtime, step_id)
        assert found.deadline_at - found.created_at == pytest.approx(seconds, abs=30)
    until = row(runtime, "open").deadline_at
    with pytest.raises(Retry):
        woken(task, due(runtime, "open"))
    assert row(runtime, "open").deadline_at == until  # not a new one with each refusal


@pytest.mark.parametrize("error", [BreakerOpenError, RateLimitedError])
def test_it_waits_no_longer_than_its_deadline(
    make: Any, runtime: Runtime, error: type[AgentsError]
) -> None:
    async def guarded(step: Step, request: StepOptions) -> str:
        raise error("later", {"retry_after_s": 50})

    with pytest.raises(error, match="later"):
        receive(make(guarded), "s", 1, deadline_s=20)
    assert row(runtime, "s").state == "failed"


def test_a_long_wait_stays_in_the_row(make: Any, runtime: Runtime) -> None:
    with pytest.raises(Ignore, match="by recovery"):
        receive(make(flaky(after_s=500)), "s", 1)
    assert row(runtime, "s").ready_at - row(runtime, "s").created_at > 499


def test_the_last_attempt_fails(make: Any, runtime: Runtime) -> None:
    with pytest.raises(ProviderUnavailableError) as error:
        receive(make(flaky(after_s=1)), "s", 1, retry={"max_attempts": 1})
    assert error.value.retry_after_s == 1
    assert row(runtime, "s").state == "failed"


def test_no_attempt_is_promised_that_would_come_after_the_deadline(
    make: Any, runtime: Runtime
) -> None:
    with pytest.raises(ProviderUnavailableError):
        receive(make(flaky(after_s=50)), "s", 1, deadline_s=20)
    assert row(runtime, "s").state == "failed"


def test_a_step_that_takes_too_long_is_stopped(make: Any, runtime: Runtime) -> None:
    stopped: list[bool] = []

    async def sleepy(step: Step, request: StepOptions) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            stopped.append(True)
            raise

    with pytest.raises(DeadlineExceededError, match=r"within 0\.05 s"):
        receive(make(sleepy), "s", 1, timeout_s=0.05, retry={"max_attempts": 1})
    assert stopped == [True]


def test_a_cancelled_step_is_stopped(make: Any, runtime: Runtime) -> None:
    async def cancelled(step: Step, request: StepOptions) -> None:
        after = await asyncio.to_thread(step.runtime.journal.cancel, step.step_id)
        step.runtime.cancel_steps(after.cancels)
        await asyncio.sleep(60)

    with pytest.raises(StepCancelledError):
        receive(make(cancelled), "s", 1)
    assert row(runtime, "s").state == "cancelled"


@pytest.mark.parametrize("after_s", [0.0, 3600.0])
def test_a_step_that_is_cancelled_as_its_attempt_fails_is_cancelled(
    make: Any, runtime: Runtime, after_s: float
) -> None:
    """It is to be tried again, and the news of its cancellation come too late by a hair."""

    async def limited(step: Step, request: StepOptions) -> Answer:
        after = await asyncio.to_thread(runtime.journal.cancel, step.step_id)
        assert after.cancels == ["s"]
        raise RateLimitedError("later", {"retry_after_s": after_s})

    with pytest.raises(StepCancelledError):
        receive(make(limited), "s", 1)
    assert row(runtime, "s").state == "cancelled"


def test_connections_that_are_scarce_are_no_failure_of_a_step(make: Any, runtime: Runtime) -> None:
    """The pool gives none in time: the database is busy, and the step is tried again."""
    pool: Any = runtime.journal.engine.pool

    def decide(step: Step, request: StepOptions) -> Any:
        pool._timeout = 0.1
        with ExitStack() as held:
            with suppress(TimeoutError):
                for _ in range(100):
                    held.enter_context(runtime.journal.engine.connect())
            return runtime.journal.members(step.step_id)

    with pytest.raises((Retry, Ignore)):
        receive(make(decide), "s", 1)
    assert row(runtime, "s").state == "ready"


def test_a_stall_is_an_attempt_that_ended_badly(make: Callable[[Run], StepTask]) -> None:
    """It comes again as long as its attempts allow, then it is a dead letter."""

    async def stalls(step: Step, request: StepOptions) -> Any:
        raise LoopStalledError

    task = make(stalls)
    retry = {"max_attempts": 2, "base_delay_s": 0.001, "max_delay_s": 0.001}
    with pytest.raises(Retry):
        receive(task, "stalls", "x", retry=retry)
    time.sleep(0.01)
    with pytest.raises(StepDeadError, match=r"Given up after 2 attempts.*computed on its worker"):
        woken(task, "stalls")


def test_poison_on_the_loop_ends_as_a_dead_letter(
    make: Callable[[Run], StepTask], runtime: Runtime
) -> None:
    runtime.watchdog._patience_s, runtime.watchdog._every_s = 0.5, 0.05

    async def poison(step: Step, request: StepOptions) -> Any:
        while True:
            pass

    async def other(step: Step, request: StepOptions) -> Any:
        return Answer(value="served")

    with pytest.raises(StepDeadError, match="Given up after 1 attempts"):
        receive(make(poison), "poison", "x", retry={"max_attempts": 1})
    assert receive(make(other), "other", "x") == "served"
    assert [
        letter["id"] for letter in runtime.journal.read(lambda c: dead_letters.listed(c, 9))
    ] == ["poison"]
