"""Calls of a step: their identity, and what of them an attempt finds again."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select, update

from app.execution.attempts.attempt import Attempt, Received
from app.execution.calls.identity import About, CallId
from app.execution.context import Step
from app.execution.runtime import Active, Runtime
from app.journal.queries import reads
from app.journal.schema.models import Call, Event
from app.journal.schema.rows import Claimed, NewStep
from celery_agents.contracts.ask import Ask
from celery_agents.contracts.outcome import Answer, ErrorInfo, Usage
from celery_agents.errors import RetryableError, UncertainCallError

SOON = 20
NEW = NewStep("s", "s", "test", "agents", {"args": [1], "kwargs": {}}, max_attempts=99)
abouts = st.tuples(
    st.sampled_from(["", "a", "b", "a/b.0"]),
    st.sampled_from(["m", "t", "m\x01"]),
    st.text(alphabet="fg", max_size=3),
)


@given(st.lists(st.tuples(abouts, st.integers(0, 20)), min_size=2, unique=True))
def test_calls_have_one_identity_and_one_key_if_they_are_the_same(
    calls: list[tuple[About, int]],
) -> None:
    made = [CallId.of("s", place, about, before) for place, (about, before) in enumerate(calls)]
    assert len({c.identity for c in made}) == len({c.key for c in made}) == len(calls)
    again = [CallId.of("s", 9, about, before) for about, before in calls]
    assert [(c.identity, c.key) for c in again] == [(c.identity, c.key) for c in made]
    assert not {c.key for c in made} & {CallId.of("t", 0, *c).key for c in calls}
    assert all(len(c.identity) <= 64 for c in made)


def test_an_identity_fits_its_column_however_often_a_call_is_made() -> None:
    longest = CallId.of("s", 0, ("x" * 64, "n" * 200, "f" * 64), 10**9)
    assert len(longest.identity) <= 64


def claim(runtime: Runtime) -> Claimed:
    found = runtime.journal.claim("s", NEW).result(SOON)
    assert isinstance(found, Claimed)
    return found


def again(runtime: Runtime, before: Step) -> Step:
    """The step's next attempt, when the one before is dead."""
    before.calls.written()
    info = ErrorInfo(kind="unavailable", message="")
    runtime.journal.postpone(before.claim, delay_s=0, error=info).result(SOON)
    return Step(runtime, claim(runtime))


def run(runtime: Runtime, work: Awaitable[Any]) -> Any:
    async def wrapped() -> Any:
        return await work

    return runtime.loop.submit(wrapped()).result(SOON)


class KilledError(Exception):
    """The worker dies here."""


class World:
    """Counts what is paid, and kills at a given number of payments."""

    def __init__(self) -> None:
        self.paid: list[tuple[str, str]] = []  # what, under which key
        self.dies_at: int | None = None

    def act(self, what: str) -> Callable[[str], Awaitable[Answer]]:
        async def perform(key: str) -> Answer:
            await asyncio.sleep(random.random() / 500)
            if self.dies_at is not None and len(self.paid) >= self.dies_at:
                raise KilledError
            self.paid.append((what, key))
            return Answer(value=f"{what} is done")

        return perform


async def sub_agent(step: Step, world: World, name: str) -> str:
    """Three model requests, each about what the one before answered, with a tool in between."""
    told = name
    for turn in range(3):
        asked = f"{name}/{turn}"
        told = str((await step.call("model", world.act(asked), fingerprint=told)).value)
    return told


async def team(step: Step, world: World) -> list[str]:
    """Three sub-agents side by side, each within a tool's call."""

    async def tool(name: str) -> str:
        async def perform(_: str) -> Answer:
            return Answer(value=await sub_agent(step, world, name))

        return str((await step.call("tool", perform, fingerprint=name)).value)

    names = ["a", "b", "c"]
    random.shuffle(names)  # as replies of a provider come, in any order
    return sorted(await asyncio.gather(*(tool(name) for name in names)))


@pytest.mark.parametrize("seed", range(8))
def test_sub_agents_side_by_side_pay_for_nothing_twice(runtime: Runtime, seed: int) -> None:
    """What is finished when a worker dies is finished, in whatever order it was asked for."""
    random.seed(seed)
    world, step = World(), Step(runtime, claim(runtime))
    for deaths in range(4):
        world.dies_at = 1 + 2 * deaths
        with pytest.raises(KilledError):
            run(runtime, team(step, world))
        step = again(runtime, step)
    world.dies_at = None
    assert len(run(runtime, team(step, world))) == 3
    # Nothing was in flight when it died: each of the nine is paid once, under a key of its own.
    assert len(world.paid) == len({what for what, _ in world.paid}) == 9
    assert len({key for _, key in world.paid}) == 9
    assert runtime.journal.read(reads.calls_made_twice) == 0
    assert run(runtime, step.calls.unused()) == 0


def test_whether_a_call_was_made_before(runtime: Runtime) -> None:
    """One that was begun and not ended was, if it is made once."""
    world, step = World(), Step(runtime, claim(runtime))
    assert not run(runtime, step.made("t", fingerprint="done", once=True))
    run(runtime, step.call("t", world.act("x"), fingerprint="done"))
    assert not run(runtime, step.made("t", fingerprint="done", once=True))  # but in this attempt
    world.dies_at = 0
    with pytest.raises(KilledError):
        run(runtime, step.call("t", world.act("y"), fingerprint="begun"))
    step = again(runtime, step)
    for name, after, once, made in [
        ("done", 0, False, True),
        ("done", 1, True, False),
        ("begun", 0, False, False),
        ("begun", 0, True, True),
        ("never", 0, True, False),
    ]:
        told = run(runtime, step.made("t", fingerprint=name, once=once, after=after))
        assert (name, told) == (name, made)
    run(runtime, step.call("t", world.act("x"), fingerprint="done"))
    assert not run(runtime, step.made("t", fingerprint="done"))  # the next one of these


def test_calls_that_begin_at_once_read_what_is_finished_once(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, first = World(), Step(runtime, claim(runtime))

    async def many(step: Step) -> None:
        asked = [step.call("model", world.act(str(n)), fingerprint=str(n)) for n in range(20)]
        await asyncio.gather(*asked)

    run(runtime, many(first))
    second, reads_before = again(runtime, first), list[str]()
    read = runtime.journal.finished_calls

    def counted(step_id: str) -> dict[str, dict[str, Any]]:
        reads_before.append(step_id)
        return read(step_id)

    monkeypatch.setattr(runtime.journal, "finished_calls", counted)
    run(runtime, many(second))
    assert reads_before == ["s"]
    assert len(world.paid) == 20


def test_the_same_call_within_two_others_is_two(runtime: Runtime) -> None:
    world, step = World(), Step(runtime, claim(runtime))

    async def both() -> None:
        async def inner(_: str) -> Answer:
            return await step.call("model", world.act("x"), fingerprint="x")

        await asyncio.gather(*(step.call("tool", inner, fingerprint=f) for f in "pq"))
        await step.call("model", world.act("x"), fingerprint="x")

    run(runtime, both())
    assert len({key for _, key in world.paid}) == 3


def test_what_is_not_asked_for_again_is_counted(runtime: Runtime) -> None:
    """But not what a call that is known asked for within itself."""
    world, first = World(), Step(runtime, claim(runtime))
    run(runtime, team(first, world))
    run(runtime, first.call("model", world.act("now"), fingerprint="it is 12:00"))
    second = again(runtime, first)
    run(runtime, team(second, world))
    assert run(runtime, second.calls.unused()) == 1
    run(runtime, second.call("model", world.act("now"), fingerprint="it is 12:00"))
    assert run(runtime, second.calls.unused()) == 0


def test_each_attempt_has_spent_what_the_calls_did(runtime: Runtime) -> None:
    """Also those that came at once, and those that an answered call has made within itself."""
    paid = Usage(calls=1, input_tokens=10, cost_usd=0.25)

    async def model(_: str) -> Answer:
        return Answer(value=1, usage=paid)

    async def work(step: Step) -> None:
        async def sub_agent(_: str) -> None:
            async def tool(_: str) -> None:
                await step.call("model", model, fingerprint="deep")

            await step.call("model", model, fingerprint="inner")
            await step.call("tool", tool)

        asked = [step.call("model", model, fingerprint=f) for f in "abc"]
        await asyncio.gather(step.call("agent", sub_agent), *asked)

    step = Step(runtime, claim(runtime))
    for _ in range(2):
        run(runtime, work(step))
        assert (step.spent.calls, step.spent.input_tokens) == (5, 50)
        assert step.spent.cost_usd == pytest.approx(5 * 0.25)
        step = again(runtime, step)


def test_people_are_told_of_answers_that_were_paid_and_not_used(runtime: Runtime) -> None:
    world, first = World(), Step(runtime, claim(runtime))
    run(runtime, first.call("model", world.act("now"), fingerprint="it is 12:00"))
    second = again(runtime, first)

    class Code:
        name = "test"

        def is_brief(self, _: Any) -> bool:
            return False

        def parse(self, args: Any, kwargs: Any, *, known: bool = False) -> Ask:
            return Ask(agent="a", input=1)

        async def run(self, step: Step, request: Ask) -> str:
            return str((await step.call("model", world.act("later"), fingerprint="13:00")).value)

    active = Active(second.claim)
    Attempt(runtime, Code(), Received("s"), second.claim, active).run()
    query = select(Event.kind, Event.data).where(Event.step_id == "s", Event.kind == "unused")
    found = runtime.journal.read(lambda c: [tuple(row) for row in c.execute(query)])
    assert found == [("unused", {"calls": "1"})]


class TestOnce:
    """Calls that are not made again where nobody knows how they went."""

    def test_one_that_was_begun_is_uncertain(self, runtime: Runtime) -> None:
        world, first = World(), Step(runtime, claim(runtime))
        world.dies_at = 0
        with pytest.raises(KilledError):
            run(runtime, first.call("pay", world.act("pay"), fingerprint="7", once=True))
        world.dies_at = None
        step = first
        for _ in range(2):  # however often it is asked, and with the same words
            step = again(runtime, step)
            with pytest.raises(UncertainCallError) as caught:
                run(runtime, step.call("pay", world.act("pay"), fingerprint="7", once=True))
            keys = runtime.journal.read(lambda c: c.execute(select(Call.idempotency_key)).scalars())
            assert caught.value.details["key"] == keys.first()
            assert caught.value.details["begun_at"] in caught.value.message
        assert world.paid == []
        # Who asks a second time in one attempt, wants it a second time.
        again_asked = step.call("pay", world.act("pay"), fingerprint="7", once=True)
        assert run(runtime, again_asked).value == "pay is done"

    def test_one_that_ended_is_as_others(self, runtime: Runtime) -> None:
        world, first = World(), Step(runtime, claim(runtime))
        made = run(runtime, first.call("pay", world.act("pay"), once=True))
        assert run(runtime, again(runtime, first).call("pay", world.act("pay"), once=True)) == made
        assert len(world.paid) == 1

    def test_one_that_failed_is_made_again(self, runtime: Runtime) -> None:
        """Its code said that it did nothing."""
        world, first = World(), Step(runtime, claim(runtime))

        async def refuse(_: str) -> Answer:
            raise RetryableError("later")

        with pytest.raises(RetryableError):
            run(runtime, first.call("pay", refuse, once=True))
        run(runtime, again(runtime, first).call("pay", world.act("pay"), once=True))
        assert len(world.paid) == 1

    def test_a_worker_that_thaws_may_still_end_its_own(self, runtime: Runtime) -> None:
        world, first = World(), Step(runtime, claim(runtime))
        run(runtime, first.call("pay", world.act("pay"), once=True))
        second = again(runtime, first)
        with runtime.journal.engine.begin() as connection:  # as if its end had come late
            connection.execute(update(Call).values(finished_at=None))
        with pytest.raises(UncertainCallError):
            run(runtime, second.call("pay", world.act("pay"), once=True))
        with runtime.journal.engine.begin() as connection:
            connection.execute(update(Call).values(finished_at=1.0))
        third = again(runtime, second)
        assert run(runtime, third.call("pay", world.act("pay"), once=True)).value == "pay is done"
        assert len(world.paid) == 1
