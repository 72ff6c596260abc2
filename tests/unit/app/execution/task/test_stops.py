"""Attempts of a worker that stops, and calls that are not paid for again."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from celery.exceptions import Ignore

from agents.plan import Expand, Member
from app.concurrency.future import Future
from app.execution.context import Step
from app.execution.runtime import Runtime
from app.journal.schema.rows import derived_id
from celery_agents.contracts.ask import StepOptions
from celery_agents.contracts.outcome import Answer, Usage
from celery_agents.errors import (
    JournalUnavailableError,
)
from tests.unit.app.execution.task.support import (
    SOON,
    receive,
    row,
    shout,
    woken,
)


def refuse_the_end_of_a_call(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    """The journal is away as the next call ends, and back after it."""
    real = runtime.journal.finish_call

    def away(*_: Any, **__: Any) -> Future[None]:
        monkeypatch.setattr(runtime.journal, "finish_call", real)
        lost: Future[None] = Future()
        lost.set_exception(JournalUnavailableError("away"))
        return lost

    monkeypatch.setattr(runtime.journal, "finish_call", away)


def test_a_step_that_is_given_back_keeps_its_finished_calls(
    make: Any, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal is away as the first call ends, and back when the worker stops in the second."""
    paid: list[str] = []
    second = threading.Event()

    async def pay(step: Step, name: str) -> Answer:
        async def perform(key: str) -> Answer:
            paid.append(name)
            if paid == ["first", "second"]:
                second.set()
                await asyncio.sleep(SOON)
            return Answer(value=name, usage=Usage(calls=1))

        return await step.call("model", perform, fingerprint=name)

    async def two(step: Step, request: StepOptions) -> Answer:
        await pay(step, "first")
        return await pay(step, "second")

    refuse_the_end_of_a_call(runtime, monkeypatch)
    task = make(two)

    def stop() -> None:
        second.wait(SOON)
        runtime.drain()

    stopping = threading.Thread(target=stop)
    stopping.start()
    with pytest.raises(Ignore, match="given back"):
        receive(task, "s", 1)
    stopping.join()
    assert row(runtime, "s").state == "ready"
    runtime._draining = False  # as the next worker
    assert woken(task, "s") == "second"
    assert paid == ["first", "second", "second"]


def test_a_step_that_waits_for_members_keeps_its_finished_calls(
    make: Any, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal is away as its call ends, and back when its members are written."""
    paid: list[str] = []

    async def perform(key: str) -> Answer:
        paid.append(key)
        return Answer(value="paid", usage=Usage(calls=1))

    members = make(shout)

    async def asks(step: Step, request: StepOptions) -> Any:
        answer = await step.call("model", perform)
        if await asyncio.to_thread(runtime.journal.members, step.step_id):
            return answer
        member = Member(key="m", task=members.name, input="a", options={}, agent="a")
        return Expand(members=(member,))

    refuse_the_end_of_a_call(runtime, monkeypatch)
    task = make(asks)
    with pytest.raises(Ignore):
        receive(task, "s", 1)
    woken(members, derived_id("s", "m"))
    assert woken(task, "s") == "paid"
    assert len(paid) == 1


def test_no_agent_is_asked_by_a_worker_that_gives_back(make: Any, runtime: Runtime) -> None:
    """A step may have waited for its permit until then."""
    runtime.drain()
    with pytest.raises(Ignore, match="given back"):
        receive(make(shout), "s", "hello")
    assert (row(runtime, "s").state, row(runtime, "s").attempts) == ("ready", 0)
