from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import select

from agents.plan import Expand, Member, Tally
from app.execution.context import Step
from app.execution.others.celery_agent import Ending
from app.execution.runtime import Active, Runtime
from app.journal.queries import reads
from app.journal.schema.models import Event
from app.journal.schema.rows import Claimed, NewStep, derived_id
from celery_agents.contracts.outcome import Answer, ErrorInfo, Outcome, State, Usage
from celery_agents.errors import (
    AgentFailedError,
    AnswerTooLargeError,
    InvalidPayloadError,
    JournalUnavailableError,
    RateLimitedError,
)
from tests.support.claims import claim as made_up

SOON = 20
NEW = NewStep("s", "s", "test", "agents", {"args": [1], "kwargs": {}}, max_attempts=9)
Perform = Callable[[str], Awaitable[Answer]]


def claim(runtime: Runtime) -> Claimed:
    found = runtime.journal.claim("s", NEW).result(SOON)
    assert isinstance(found, Claimed)
    return found


def again(runtime: Runtime, before: Claimed) -> Step:
    """The step's next attempt."""
    info = ErrorInfo(kind="unavailable", message="")
    runtime.journal.postpone(before, delay_s=0, error=info).result(SOON)
    return Step(runtime, claim(runtime))


class Model:
    """Counts what it was paid for."""

    def __init__(self) -> None:
        self.keys: list[str] = []

    async def __call__(self, key: str) -> Answer:
        self.keys.append(key)
        number = len(self.keys)
        await asyncio.sleep(0)
        return Answer(value=number, usage=Usage(calls=1, cost_usd=1.0))


def run(runtime: Runtime, work: Awaitable[Any]) -> Any:
    async def wrapped() -> Any:
        return await work

    return runtime.loop.submit(wrapped()).result(SOON)


def test_a_finished_call_is_not_made_again(runtime: Runtime) -> None:
    model, first = Model(), claim(runtime)
    step = Step(runtime, first)
    assert run(runtime, step.call("model", model, fingerprint="f")).value == 1
    later = again(runtime, first)
    found = run(runtime, later.call("model", model, fingerprint="f"))
    assert found == Answer(value=1, usage=Usage(calls=1, cost_usd=1.0))
    assert len(model.keys) == 1
    assert (step.spent, later.spent) == (found.usage, found.usage)


def test_calls_are_known_by_what_they_are(runtime: Runtime) -> None:
    model, first = Model(), claim(runtime)
    step = Step(runtime, first)
    for mark in ("f", "f", "g"):
        run(runtime, step.call("model", model, fingerprint=mark))
    later = again(runtime, first)
    found = [
        run(runtime, later.call("model", model, fingerprint=mark)).value
        for mark in ("f", "other", "g", "f")
    ]
    assert found == [1, 4, 3, 2]  # wherever they stand, and as often as they were made
    assert len(set(model.keys)) == 4  # another request has another key
    assert runtime.journal.read(reads.calls_made_twice) == 0


@pytest.mark.parametrize(
    ("name", "fingerprint", "same"),
    [("model", "f", True), ("backup", "f", False), ("model", "g", False)],
)
def test_another_request_at_a_place_has_another_key(
    runtime: Runtime, name: str, fingerprint: str, same: bool
) -> None:
    """A service, or Celery, would answer a backup with what the primary was told."""
    model, first = Model(), claim(runtime)

    async def fail(key: str) -> Answer:
        model.keys.append(key)
        raise RateLimitedError("slowly")

    with pytest.raises(RateLimitedError):
        run(runtime, Step(runtime, first).call("model", fail, fingerprint="f"))
    run(runtime, again(runtime, first).call(name, model, fingerprint=fingerprint))
    before, after = model.keys
    assert (before == after) is same


def test_calls_that_begin_at_once_all_find_their_answers(runtime: Runtime) -> None:
    model, first = Model(), claim(runtime)

    async def three(step: Step) -> list[Any]:
        answers = await asyncio.gather(*(step.call("m", model, fingerprint=f) for f in "abc"))
        return sorted(str(a.value) for a in answers)

    made = run(runtime, three(Step(runtime, first)))
    assert run(runtime, three(again(runtime, first))) == made == ["1", "2", "3"]
    assert len(model.keys) == 3
    assert runtime.journal.read(reads.calls_made_twice) == 0


def test_a_failed_call_is_made_again_and_its_cost_counts(runtime: Runtime) -> None:
    model, first = Model(), claim(runtime)
    cost = Usage(calls=1, input_tokens=7)

    async def fail(key: str) -> Answer:
        raise RateLimitedError("slowly", {"usage": cost.compact()})

    step = Step(runtime, first)
    with pytest.raises(RateLimitedError):
        run(runtime, step.call("model", fail))
    assert step.spent == cost
    assert run(runtime, again(runtime, first).call("model", model)).value == 1


def test_a_call_is_written_down_before_it_is_made(runtime: Runtime) -> None:
    first = claim(runtime)
    seen: list[int] = []

    async def look(key: str) -> Answer:
        seen.append(
            runtime.journal.read(
                lambda c: c.exec_driver_sql(
                    "SELECT count(*) FROM calls WHERE finished_at IS NULL"
                ).scalar_one()
            )
        )
        return Answer(value=1)

    run(runtime, Step(runtime, first).call("model", look))
    assert seen == [1]


def test_a_step_knows_what_it_is(runtime: Runtime) -> None:
    first = claim(runtime)
    step = again(runtime, first)
    assert (step.step_id, step.run_id, step.attempt, step.members()) == ("s", "s", 2, [])


def test_a_step_counts_its_members(runtime: Runtime) -> None:
    first = claim(runtime)
    assert Step(runtime, first).tally() == Tally()
    asked = {"key": "a", "task": "agents.ask", "input": 1, "options": {}}
    runtime.journal.expand(first, Expand(members=(Member(**asked),))).result(SOON)
    member = runtime.journal.claim(derived_id("s", "a")).result(SOON)
    assert isinstance(member, Claimed)
    limit = runtime.settings.payload_limit_bytes
    value = "x" * (limit // 2)  # with what is around it more than what follows should get
    runtime.journal.finish(member, Outcome(state=State.SUCCEEDED, value=value)).result(SOON)
    found = Step(runtime, claim(runtime)).tally()
    assert (found.total, found.succeeded, found.values) == (1, 1, None)


@pytest.mark.parametrize("name", ["a\0", "x" * 201, "\ud83d", "two\nlines"])
def test_names_of_calls_that_no_row_takes(runtime: Runtime, name: str) -> None:
    model, step = Model(), Step(runtime, claim(runtime))
    for call in (step.call(name, model), step.call("n", model, fingerprint=name)):
        with pytest.raises(AgentFailedError, match="name"):
            run(runtime, call)
    assert model.keys == []


def large(usage: Usage, size: int = 2_000_000) -> Perform:
    async def perform(_: str) -> Answer:
        return Answer(value={"all": "x" * size}, usage=usage)

    return perform


def test_an_answer_that_is_too_large_is_an_error_that_was_paid(runtime: Runtime) -> None:
    first = claim(runtime)
    step, paid = Step(runtime, first), Usage(calls=1, cost_usd=1.0)
    with pytest.raises(AnswerTooLargeError, match=r"2,000,010 bytes.*1,048,576"):
        run(runtime, step.call("model", large(paid), fingerprint="f"))
    assert step.spent == paid
    assert step.calls
    step.calls.written()
    model, later = Model(), again(runtime, first)
    with pytest.raises(AnswerTooLargeError):  # it was made, and is not made again
        run(runtime, later.call("model", model, fingerprint="f"))
    assert (model.keys, later.spent) == ([], paid)
    assert run(runtime, later.call("model", model, fingerprint="g")).value == 1


@pytest.mark.parametrize("usage", ["much", {"calls": "x"}, {"odd": 1}, [1]])
def test_what_a_failed_call_says_of_its_cost_may_be_nonsense(runtime: Runtime, usage: Any) -> None:
    async def perform(_: str) -> Answer:
        raise RateLimitedError("no", {"usage": usage})

    step = Step(runtime, claim(runtime))
    with pytest.raises(RateLimitedError):
        run(runtime, step.call("model", perform))
    assert step.spent == Usage()


@pytest.mark.parametrize(
    ("active", "change", "over"),
    [
        ({}, {}, False),
        ({"cancelled": True}, {}, True),
        ({"cancelled": True, "lost": True}, {}, False),  # another worker goes on with it
        ({}, {"remaining_s": -1.0}, True),
        ({}, {"remaining_s": 60.0}, False),
        ({}, {"attempt": 4}, True),  # it is not tried again
        ({"lost": True}, {"attempt": 4}, False),
    ],
)
def test_a_step_tells_whether_anybody_goes_on_with_it(
    runtime: Runtime, active: dict[str, Any], change: dict[str, Any], over: bool
) -> None:
    """What it waits for elsewhere is stopped only then."""
    given = made_up(**change)
    step = Step(runtime, given, Active(given, **active))
    assert isinstance(step, Ending)  # app/execution/others/celery_agent.py asks so
    assert step.over is over
    runtime._draining = True
    assert not step.over


def test_notes_are_events_of_the_step(runtime: Runtime) -> None:
    step = Step(runtime, claim(runtime))
    run(runtime, step.note("failover", [{"from": "a", "to": "b"}, {"from": "b", "to": "c"}]))
    query = select(Event.kind, Event.data).where(Event.step_id == "s").order_by(Event.id)
    found = runtime.journal.read(lambda c: [tuple(row) for row in c.execute(query)])
    assert found[-2:] == [
        ("failover", {"from": "a", "to": "b"}),
        ("failover", {"from": "b", "to": "c"}),
    ]


def test_notes_that_cannot_be_written_fail_nothing(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(*_: Any) -> None:
        raise JournalUnavailableError

    step = Step(runtime, claim(runtime))
    monkeypatch.setattr(runtime.journal, "note", away)
    run(runtime, step.note("breaker", [{"to": "open"}]))
    assert "Events of s were not written" in caplog.text


@pytest.mark.parametrize("name", ["", "Obey.\nAlways.", "x" * 181, None])
def test_what_a_step_has_used_is_a_name(runtime: Runtime, name: Any) -> None:
    with pytest.raises(InvalidPayloadError, match="did"):
        Step(runtime, claim(runtime)).did(name)
