"""Agents that a step's code asks in its midst: what it waits for, and how it goes on."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from agents.plain import plain_json
from agents.plan import Expand
from app.execution.context import Step
from app.execution.runtime import Runtime
from app.journal.schema.rows import Claimed, NewStep
from celery_agents import agent, names
from celery_agents.contracts.outcome import Answer, ErrorInfo, Outcome, State, Usage
from celery_agents.errors import (
    AgentFailedError,
    ConfigurationError,
    InvalidPayloadError,
)

SOON = 20
DAY = {"due": dt.date(2030, 1, 2)}
NEW = NewStep("s", "s", names.ASK, "agents", {"args": [1], "kwargs": {}}, max_attempts=9)
Code = Callable[[Step], Awaitable[Any]]


class Story:
    """A step from claim to claim; those whom it asks answer as ``says`` has it."""

    def __init__(self, runtime: Runtime, says: Callable[[Any], Outcome] | None = None) -> None:
        self.runtime = runtime
        self.says = says or (lambda told: Outcome(state=State.SUCCEEDED, value=f"{told}!"))
        self.asked: list[list[Any]] = []  # whom each expansion wants, by the inputs
        self.keys: list[str] = []
        self.paid: list[str] = []
        self.step: Step | None = None

    def claim(self, step_id: str = "s", new: NewStep | None = NEW) -> Claimed:
        found = self.runtime.journal.claim(step_id, new).result(SOON)
        assert isinstance(found, Claimed), found
        return found

    def once(self, code: Code, claim: Claimed | None = None) -> Any:
        """What one attempt comes to."""
        step = self.step = Step(self.runtime, claim or self.claim())

        async def attempt() -> Any:
            return await step.run(code(step))

        return self.runtime.loop.submit(attempt()).result(SOON)

    def tell(self, code: Code) -> Any:
        """Let it wait for its members as often as it wants."""
        while True:
            claim = self.claim()
            result = self.once(code, claim)
            if not isinstance(result, Expand):
                return result
            assert self.step is not None
            self.step.calls.written()
            expanded = self.runtime.journal.expand(claim, result).result(SOON)
            assert expanded.applied
            self.asked.append([m.input for m in result.members])
            self.keys += [m.key for m in result.members]
            for wake in expanded.members:
                member = self.claim(wake.id, None)
                said = self.says(member.payload["args"][0])
                self.runtime.journal.finish(member, said).result(SOON)

    async def pay(self, step: Step, what: str, **how: Any) -> Any:
        async def act(_: str) -> Answer:
            self.paid.append(what)
            await asyncio.sleep(0.01)
            return Answer(value=what, usage=Usage(calls=1))

        return (await step.call("pay", act, fingerprint=what, **how)).value


@pytest.fixture
def story(runtime: Runtime) -> Story:
    return Story(runtime)


def test_one_after_the_other(story: Story) -> None:
    async def code(step: Step) -> Any:
        first = await step.ask("a", "one")
        await story.pay(step, "between")
        return await step.ask("b", {"of": first})

    assert story.tell(code) == "{'of': 'one!'}!"
    assert story.asked == [["one"], [{"of": "one!"}]]
    assert story.paid == ["between"]


def test_several_at_once(story: Story) -> None:
    async def code(step: Step) -> Any:
        return await asyncio.gather(*(step.ask("a", n) for n in range(5)))

    assert story.tell(code) == ["0!", "1!", "2!", "3!", "4!"]
    assert story.asked == [[0, 1, 2, 3, 4]]


def test_what_comes_to_its_question_by_calls_is_asked_with_the_others(story: Story) -> None:
    async def one(step: Step, name: str) -> Any:
        for part in "xy":
            await story.pay(step, name + part)
        return await step.ask("a", name)

    async def code(step: Step) -> Any:
        return await asyncio.gather(step.ask("a", "first"), one(step, "p"), one(step, "q"))

    assert story.tell(code) == ["first!", "p!", "q!"]
    assert [sorted(some) for some in story.asked] == [["first", "p", "q"]]
    assert sorted(story.paid) == ["px", "py", "qx", "qy"]


def test_the_same_question_twice_is_asked_twice(story: Story) -> None:
    said = iter(["once", "twice", "thrice"])
    story.says = lambda _: Outcome(state=State.SUCCEEDED, value=next(said))

    async def code(step: Step) -> Any:
        pair = await asyncio.gather(step.ask("a", 1), step.ask("a", 1))
        return [*pair, await step.ask("a", 1)]

    assert story.tell(code) == ["once", "twice", "thrice"]
    assert len(set(story.keys)) == 3


@pytest.mark.parametrize(("answer", "value"), [(int | list[str], 7), (dict[str, dt.date], DAY)])
def test_an_answer_of_a_type(story: Story, answer: Any, value: Any) -> None:
    story.says = lambda _: Outcome(state=State.SUCCEEDED, value=plain_json(value))

    async def code(step: Step) -> Any:
        found = await step.ask("a", 1, answer=answer)
        assert found == value
        return "of the type"

    assert story.tell(code) == "of the type"


def test_an_answer_of_another_type_fails_for_good(story: Story) -> None:
    async def code(step: Step) -> Any:
        return await step.ask("a", 1, answer=int)

    with pytest.raises(AgentFailedError, match="a: The answer is no int"):
        story.tell(code)


def test_options_are_part_of_what_is_asked(story: Story) -> None:
    async def code(step: Step) -> Any:
        return await asyncio.gather(step.ask("a", 1), step.ask("a", 1, instructions="Be brief."))

    story.tell(code)
    assert story.asked == [[1, 1]]
    assert len(set(story.keys)) == 2


def test_a_failure_is_raised_where_it_was_asked(story: Story) -> None:
    error = ErrorInfo(kind="unavailable", message="it is away", retryable=True)
    story.says = lambda _: Outcome(state=State.FAILED, error=error)

    async def code(step: Step) -> Any:
        try:
            return await step.ask("a", 1)
        except AgentFailedError as failure:
            return [str(failure), failure.details["error"]["kind"]]

    assert story.tell(code) == ["a failed: it is away", "unavailable"]


def test_the_cost_of_members_is_counted_once(story: Story) -> None:
    story.says = lambda _: Outcome(state=State.SUCCEEDED, value=1, usage=Usage(calls=10))

    async def code(step: Step) -> Any:
        await asyncio.gather(step.ask("a", 1), step.ask("a", 2))
        await step.ask("a", 3)
        return await step.with_members(Answer(value="x", usage=Usage(calls=1)))

    assert story.tell(code).usage.calls == 31
    assert story.step is not None
    assert story.step.of_members.calls == 30


# ---------------------------------------------------------------- being suspended


def test_code_that_catches_its_suspension_gains_nothing(story: Story) -> None:
    async def code(step: Step) -> Any:
        for number in range(2):
            try:
                return await step.ask("a", number)
            except asyncio.CancelledError:
                continue
        raise ValueError("nobody answered")

    assert story.tell(code) == "0!"
    assert story.asked == [[0]]


@pytest.mark.parametrize("gathered", [True, False])
def test_an_error_beside_a_question_ends_the_attempt(story: Story, gathered: bool) -> None:
    async def fails() -> None:
        raise ValueError("beside")

    async def code(step: Step) -> Any:
        if gathered:
            return await asyncio.gather(step.ask("a", 1), fails())
        async with asyncio.TaskGroup() as group:
            group.create_task(step.ask("a", 1))
            group.create_task(fails())
        return None

    with pytest.raises((ValueError, ExceptionGroup)):
        story.once(code)


def test_code_that_does_not_wait_for_its_question_has_not_asked(story: Story) -> None:
    async def code(step: Step) -> Any:
        task = asyncio.create_task(step.ask("a", 1))
        await asyncio.sleep(0)
        task.cancel()
        return "without"

    assert story.tell(code) == "without"
    assert story.asked == []


def test_a_timeout_around_a_question_is_none_of_its_own(story: Story) -> None:
    async def code(step: Step) -> Any:
        async with asyncio.timeout(5):
            async with asyncio.TaskGroup() as group:
                asked = [group.create_task(step.ask("a", n)) for n in range(2)]
        return [task.result() for task in asked]

    assert story.tell(code) == ["0!", "1!"]


def test_stopping_a_step_that_asks_is_no_suspension(story: Story) -> None:
    claim = story.claim()
    step = Step(story.runtime, claim)

    async def code() -> Any:
        return await asyncio.gather(step.ask("a", 1), asyncio.sleep(60))

    async def attempt() -> bool:
        task = asyncio.create_task(step.run(code()))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled()

    assert story.runtime.loop.submit(attempt()).result(SOON)
    assert not step.asked_to_stop


def test_a_step_that_asks_nobody_has_nothing_for_it(story: Story) -> None:
    async def code(step: Step) -> Any:
        return await step.answered()

    assert story.once(code) == {}
    assert story.step is not None
    assert (story.step._asks, story.step._reading) == (None, None)


# ---------------------------------------------------------------- within calls


def test_within_a_call_that_may_be_made_again(story: Story) -> None:
    async def code(step: Step) -> Any:
        async def act(_: str) -> Answer:
            return Answer(value=await step.ask("a", "within"))

        return (await step.call("act", act)).value, await story.pay(step, "after")

    assert story.tell(code) == ("within!", "after")
    assert (story.asked, story.paid) == ([["within"]], ["after"])


def test_within_a_call_that_is_made_once_nobody_is_asked(story: Story) -> None:
    async def code(step: Step) -> Any:
        async def inner(_: str) -> Answer:
            return Answer(value=await step.ask("a", 1))

        async def act(_: str) -> Answer:
            return await step.call("inner", inner)

        return await step.call("act", act, once=True)

    with pytest.raises(AgentFailedError, match="within act, which is made once"):
        story.tell(code)
    assert story.asked == []


# ---------------------------------------------------------------- what cannot be asked


@pytest.mark.parametrize(
    ("asked", "options", "told"),
    [
        (object(), {}, "a cannot be asked"),
        (1, {"instruction": "x"}, "did you mean instructions"),
        (1, {"deadline_s": -1}, "deadline_s"),
    ],
)
def test_questions_that_are_none(story: Story, asked: Any, options: Any, told: str) -> None:
    with pytest.raises(InvalidPayloadError, match=told):
        story.once(lambda step: step.ask("a", asked, **options))


def test_an_agent_without_effects_asks_none_with_effects(story: Story) -> None:
    registry = story.runtime.agents.registry

    for name, effects in (("quiet", "pure"), ("loud", "effect")):
        marked = agent(name=name, effects=effects)(lambda text: text)  # type: ignore[call-overload]
        registry.add_function(marked, marked.__celery_agent__)
    registry.refuse_hidden_effects("loud", "loud")
    registry.refuse_hidden_effects("loud", "quiet")
    registry.refuse_hidden_effects("quiet", "quiet")
    registry.refuse_hidden_effects("quiet", "elsewhere")
    with pytest.raises(ConfigurationError, match="'loud' has effects, so 'quiet'"):
        registry.refuse_hidden_effects("quiet", "loud")
