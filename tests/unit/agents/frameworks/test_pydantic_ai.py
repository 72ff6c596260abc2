"""Agents of pydantic-ai inside a step, by their own fake models: what is paid is paid once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_ai import Agent, ApprovalRequired, ModelRetry, RunContext
from pydantic_ai.messages import (
    ModelMessage,
    ModelResponse,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
)
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.models.test import TestModel

from agents.base import Answer, Turn
from agents.catalog.kinds import all_kinds, entry_of
from agents.current import stand_in
from agents.frameworks.pydantic_ai import PydanticAIBackend, StepDurability
from agents.plan import Expand
from celery_agents.contracts.conversation import ChatMessage
from celery_agents.contracts.outcome import Outcome, State
from celery_agents.errors import AgentFailedError, ConfigurationError, RateLimitedError
from tests.support.drawn import in_turn
from tests.support.memory_step import KilledError, MemoryStep, World

PRICE = {"input_usd": 1.0, "output_usd": 2.0}


def answers(messages: list[ModelMessage]) -> int:
    return sum(isinstance(part, ToolReturnPart) for m in messages for part in m.parts)


def team(world: World) -> Agent[None, str]:
    """A lead that asks three sub-agents side by side; each uses a tool twice."""

    async def says(messages: list[ModelMessage], _: AgentInfo) -> ModelResponse:
        topic = str(messages[0].parts[0].content)  # type: ignore[union-attr]
        await asyncio.sleep(0)
        turn = answers(messages)
        world.act(world.models, f"{topic}/{turn}")
        if topic == "go" and turn == 0:
            return ModelResponse(parts=[ToolCallPart("delegate", {"to": t}) for t in "abc"])
        if topic != "go" and turn < 2:
            return ModelResponse(parts=[ToolCallPart("dig", {"at": f"{topic}{turn}"})])
        return ModelResponse(parts=[TextPart(f"{topic}!")])

    model = FunctionModel(says, model_name="m")
    sub: Agent[None, str] = Agent(model, name="sub", capabilities=[StepDurability(price=PRICE)])

    @sub.tool_plain
    def dig(at: str) -> str:
        world.act(world.tools, at)
        return at

    lead: Agent[None, str] = Agent(model, name="lead", capabilities=[StepDurability(price=PRICE)])

    @lead.tool_plain
    async def delegate(to: str) -> str:
        return (await sub.run(to)).output

    return lead


def ask(agent: Agent[Any, Any], step: MemoryStep, turn: Turn | None = None) -> Answer | Expand:
    async def run() -> Answer | Expand:
        stand_in(step)
        return await PydanticAIBackend(agent, "my_app:agent").answer(turn or Turn(input="go"), step)

    return asyncio.run(run())


def answer(agent: Agent[Any, Any], step: MemoryStep, turn: Turn | None = None) -> Answer:
    found = ask(agent, step, turn)
    assert isinstance(found, Answer)
    return found


@pytest.mark.parametrize("lives", in_turn([1, 2, 3, 5], 1, part=2))
def test_a_team_that_dies_again_and_again_pays_for_nothing_twice(
    step: MemoryStep, lives: int
) -> None:
    world, deaths = World(), 0
    for _ in range(50):
        agent = team(world)  # of another process
        world.left = lives
        try:
            found = answer(agent, step)
        except (KilledError, BaseExceptionGroup):
            step.again()
            deaths += 1
        else:
            break
    assert found.value == "go!"
    # What an answered call has cost within itself is added by the service's own steps.
    needed = {"go/0": 1, "go/3": 1} | {f"{t}/{n}": 1 for t in "abc" for n in range(3)}
    assert world.tools == {f"{t}{n}": 1 for t in "abc" for n in range(2)}
    assert {*world.models} == {*needed}
    # What was under way beside the one that died, two at the most, had no answer yet.
    assert sum(world.models.values()) - len(needed) <= 2 * deaths


def test_usage_and_price(step: MemoryStep) -> None:
    def says(_: list[ModelMessage], __: AgentInfo) -> ModelResponse:
        return ModelResponse(parts=[TextPart("yes")])

    agent: Agent[None, str] = Agent(
        FunctionModel(says), name="x", capabilities=[StepDurability(price=PRICE)]
    )
    usage = answer(agent, step).usage
    assert usage.calls == 1
    assert usage.cost_usd == pytest.approx((usage.input_tokens + 2 * usage.output_tokens) / 1e6)
    assert usage.input_tokens > 0
    assert answer(agent, step.again()).usage == usage
    bare: Agent[None, str] = Agent(FunctionModel(says), name="y", capabilities=[StepDurability()])
    assert answer(bare, MemoryStep()).usage.cost_usd is None  # nobody knows its price


def paying(done: list[int]) -> Agent[None, str]:
    def says(messages: list[ModelMessage], _: AgentInfo) -> ModelResponse:
        told = [p for m in messages for p in m.parts if isinstance(p, ToolReturnPart)]
        if not told:
            return ModelResponse(parts=[ToolCallPart("pay", {"sum": n}) for n in (1, 1, 2)])
        return ModelResponse(parts=[TextPart(" ".join(str(part.content) for part in told))])

    agent: Agent[None, str] = Agent(
        FunctionModel(says), name="pays", capabilities=[StepDurability()]
    )

    @agent.tool
    def pay(ctx: RunContext[None], sum: int) -> str:  # noqa: A002 - as its model calls it
        if not ctx.tool_call_approved:
            raise ApprovalRequired
        done.append(sum)
        return f"paid {sum}"

    return agent


def test_tools_wait_for_people(step: MemoryStep) -> None:
    done: list[int] = []
    wishes = ask(paying(done), step)
    assert isinstance(wishes, Expand)
    assert [m.input["arguments"] for m in wishes.members] == [{"sum": 1}, {"sum": 1}, {"sum": 2}]  # type: ignore[index, call-overload]
    assert len({m.key for m in wishes.members}) == 3
    for member, approved in zip(wishes.members, (True, False, True), strict=True):
        value: Any = True if approved else "too much"
        step.ended[member.key] = Outcome(state=State.SUCCEEDED, value=value)
    step.ended[wishes.members[2].key] = Outcome(
        state=State.SUCCEEDED, value={"arguments": {"sum": 3}}
    )
    for _ in range(2):  # also in an attempt after it
        assert answer(paying(done), step.again()).value == "paid 1 too much paid 3"
        assert sorted(done) == [1, 3]


class Guess(BaseModel):
    option: str
    sure: float


def test_the_form_of_an_answer(step: MemoryStep) -> None:
    args = {"option": "Yes ", "sure": 0.5, "reason": "r", "confidence": 0.5}
    model = TestModel(custom_output_args=args)
    typed: Agent[None, Guess] = Agent(
        model, name="x", output_type=Guess, capabilities=[StepDurability()]
    )
    assert answer(typed, step).value == {"option": "Yes ", "sure": 0.5}
    ballot = answer(typed, step, Turn(input="?", choices=("yes", "no"))).value
    assert isinstance(ballot, dict)
    assert ballot["option"] == "yes"
    schema: Any = {"type": "object", "properties": {"sure": {"type": "number"}}}
    asked = answer(typed, step, Turn(input="?", answer_schema=schema)).value
    assert isinstance(asked, dict)
    assert asked["sure"] == 0.5


def test_conversations_and_instructions(step: MemoryStep) -> None:
    seen: list[Any] = []

    def says(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        seen.extend([[(type(p).__name__, p.content) for p in m.parts] for m in messages])  # type: ignore[union-attr]
        seen.append(info.instructions)
        return ModelResponse(parts=[TextPart("hi")])

    agent: Agent[None, str] = Agent(FunctionModel(says), name="x", capabilities=[StepDurability()])
    said = (
        ChatMessage(role="user", content="first"),
        ChatMessage(role="assistant", content="answer"),
    )
    answer(agent, step, Turn(input="now", messages=said, instructions="be brief"))
    assert seen == [
        [("UserPromptPart", "first")],
        [("TextPart", "answer")],
        [("UserPromptPart", "now")],
        "be brief",
    ]


def test_watchers_hear_it_as_it_comes_and_again_when_it_is_known(step: MemoryStep) -> None:
    step.streamed = True
    agent: Agent[None, str] = Agent(
        TestModel(custom_output_text="a few words"), name="x", capabilities=[StepDurability()]
    )
    assert answer(agent, step).value == "a few words"
    texts = [data for kind, data in step.events if kind == "text"]
    assert "".join(map(str, texts)) == "a few words"
    assert len(texts) > 1
    step.events.clear()
    answer(agent, step.again())
    assert step.events == [("text", "a few words")]


def test_what_a_tool_asks_the_model_to_try_again_is_known(step: MemoryStep) -> None:
    tried: list[int] = []
    agent: Agent[None, str] = Agent(TestModel(), name="x", capabilities=[StepDurability()])

    @agent.tool_plain(retries=2)
    def flaky() -> str:
        tried.append(1)
        if len(tried) == 1:
            raise ModelRetry("once more")
        return "ok"

    first = answer(agent, step).value
    assert answer(agent, step.again()).value == first
    assert len(tried) == 2


def test_errors_become_ours(step: MemoryStep) -> None:
    def limited(_: list[ModelMessage], __: AgentInfo) -> ModelResponse:
        raise RateLimitedError("later")

    agent: Agent[None, str] = Agent(
        FunctionModel(limited), name="x", capabilities=[StepDurability()]
    )
    with pytest.raises(RateLimitedError):
        answer(agent, step)

    def odd(_: list[ModelMessage], __: AgentInfo) -> ModelResponse:
        return ModelResponse(parts=[])

    agent = Agent(FunctionModel(odd), name="x", capabilities=[StepDurability()])
    with pytest.raises(AgentFailedError, match="my_app:agent"):
        answer(agent, MemoryStep())


def test_outside_of_steps_nothing_is_changed() -> None:
    agent: Agent[None, str] = Agent(TestModel(), name="x", capabilities=[StepDurability()])
    assert asyncio.run(agent.run("hi")).output


def test_what_is_no_durable_agent_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no Agent"):
        PydanticAIBackend(print, "my_app:print")
    with pytest.raises(ConfigurationError, match=r"capabilities=\[StepDurability\(\)\]"):
        PydanticAIBackend(Agent(TestModel(), name="x"), "my_app:x")
    entry = entry_of({"kind": "pydantic_ai", "agent": "my_app:support"}, all_kinds())
    assert entry.kind == "pydantic_ai"
    with pytest.raises(ConfigurationError, match="agent"):
        entry_of({"kind": "pydantic_ai"}, all_kinds())
