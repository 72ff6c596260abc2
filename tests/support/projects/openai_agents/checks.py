"""Agents of OpenAI's SDK inside a step, by its own fake models: what is paid is paid once.

Run by pytest in the environment of the wheel (tests/integration/test_openai_agents.py), beside the
step of tests/support/memory_step.py in words of the wheel.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest
from agents.testing import ScriptedModel, assistant_message, function_call
from celery_agents.service.agents.base import Turn
from celery_agents.service.agents.current import stand_in
from celery_agents.service.agents.frameworks.openai_agents import OpenAIAgentsBackend
from celery_agents.service.agents.models.config import Price
from celery_agents.service.agents.plan import Expand
from memory_step import KilledError, MemoryStep, World
from openai import AsyncOpenAI
from openai.types.responses import (
    Response,
    ResponseCompletedEvent,
    ResponseTextDeltaEvent,
)

from agents import (
    Agent,
    Model,
    ModelResponse,
    OpenAIChatCompletionsModel,
    OpenAIConversationsSession,
    RunConfig,
    RunContextWrapper,
    Runner,
    ShellTool,
    SQLiteSession,
    Usage,
    function_tool,
    handoff,
    set_tracing_disabled,
)
from celery_agents import durable_client
from celery_agents.contracts.conversation import ChatMessage
from celery_agents.contracts.outcome import Answer, Outcome, State
from celery_agents.errors import (
    AgentFailedError,
    ConfigurationError,
    RateLimitedError,
    UncertainCallError,
)

PRICE = Price(input_usd=1.0, output_usd=2.0)
set_tracing_disabled(True)


class Says(Model):
    """A model that answers what a function says about its input."""

    def __init__(self, says: Any) -> None:
        self.says = says
        self.asked: list[dict[str, Any]] = []

    async def get_response(self, *args: Any, **kwargs: Any) -> ModelResponse:
        self.asked.append({"input": kwargs.get("input"), **kwargs})
        await asyncio.sleep(0)
        asked = kwargs["input"]
        items = [{"role": "user", "content": asked}] if isinstance(asked, str) else asked
        usage = Usage(requests=1, input_tokens=100, output_tokens=20, total_tokens=120)
        return ModelResponse(output=self.says(items), usage=usage, response_id=None)

    async def stream_response(self, *args: Any, **kwargs: Any) -> Any:
        whole = await self.get_response(*args, **kwargs)
        about = {"item_id": "i", "output_index": 0, "content_index": 0, "logprobs": []}
        for place, delta in enumerate(("o", "tter")):
            yield ResponseTextDeltaEvent(
                type="response.output_text.delta", delta=delta, sequence_number=place, **about
            )
        response = Response(
            id="r",
            created_at=0,
            model="m",
            object="response",
            output=whole.output,
            parallel_tool_calls=True,
            tool_choice="auto",
            tools=[],
        )
        yield ResponseCompletedEvent(
            response=response, sequence_number=2, type="response.completed"
        )


def results(items: list[Any]) -> int:
    return sum(item.get("type") == "function_call_output" for item in items)


def topic_of(items: list[Any]) -> str:
    return next(str(i["content"]) for i in items if i.get("role") == "user")


def team(world: World) -> Agent[Any]:
    """A lead that asks three sub-agents side by side, each with two tools, and hands over."""

    def sub_says(items: list[Any]) -> Any:
        topic, turn = topic_of(items), results(items)
        world.act(world.models, f"{topic}/{turn}")
        if turn < 2:
            return [function_call("dig", {"at": f"{topic}{turn}"}, call_id=f"d{turn}")]
        return [assistant_message(f"{topic}!")]

    def lead_says(items: list[Any]) -> Any:
        world.act(world.models, f"go/{results(items)}")
        if not results(items):
            return [function_call("delegate", {"input": t}, call_id=f"c{t}") for t in "abc"]
        return [function_call("transfer_to_closer", {}, call_id="h")]

    def closes(items: list[Any]) -> Any:
        world.act(world.models, f"close/{results(items)}")
        if results(items) == 4:
            return [function_call("dig", {"at": "end"}, call_id="e")]
        return [assistant_message("go!")]

    @function_tool
    async def dig(at: str) -> str:
        """Dig."""
        world.act(world.tools, at)
        return at

    sub = Agent(name="sub", model=Says(sub_says), tools=[dig])
    closer = Agent(name="closer", model=Says(closes), tools=[dig])
    tools = [sub.as_tool("delegate", "Delegate.")]
    return Agent(name="lead", model=Says(lead_says), tools=tools, handoffs=[handoff(closer)])


def ask(agent: Agent[Any], step: MemoryStep, turn: Turn | None = None, **about: Any) -> Any:
    async def run() -> Any:
        stand_in(step)
        backend = OpenAIAgentsBackend(agent, "my_app:agent", price=PRICE, **about)
        return await backend.answer(turn or Turn(input="go"), step)

    return asyncio.run(run())


def answer(agent: Agent[Any], step: MemoryStep, turn: Turn | None = None) -> Answer:
    found = ask(agent, step, turn)
    assert isinstance(found, Answer), found
    return found


def scripted(*steps: Any, **about: Any) -> Agent[Any]:
    return Agent(name="scripted", model=ScriptedModel(list(steps)), **about)


@pytest.fixture
def step() -> MemoryStep:
    return MemoryStep()


@pytest.mark.parametrize("lives", [1, 2, 3, 5])
def test_a_team_that_dies_again_and_again_pays_for_nothing_twice(
    step: MemoryStep, lives: int
) -> None:
    world, deaths = World(), 0
    for _ in range(60):
        world.left = lives
        try:
            found = answer(team(world), step)  # of another process
        except (KilledError, BaseExceptionGroup):
            step.again()
            deaths += 1
        else:
            break
    assert found.value == "go!"
    needed = {"go/0", "go/3", "close/4", "close/5"} | {f"{t}/{n}" for t in "abc" for n in range(3)}
    assert {*world.models} == needed
    assert world.tools == {"end": 1} | {f"{t}{n}": 1 for t in "abc" for n in range(2)}
    # What was under way beside the one that died, two at the most, had no answer yet.
    assert sum(world.models.values()) - len(needed) <= 2 * deaths
    assert [m.role for m in found.turns] == [
        "assistant",
        "tool",
        "tool",
        "tool",
        "assistant",
        "tool",
        "assistant",
        "tool",
    ]


def test_usage_and_price(step: MemoryStep) -> None:
    agent = Agent(name="x", model=Says(lambda _: [assistant_message("yes")]))
    usage = answer(agent, step).usage
    assert (usage.calls, usage.input_tokens, usage.output_tokens) == (1, 100, 20)
    assert usage.cost_usd == pytest.approx(140 / 1e6)
    assert answer(agent, step.again()).usage == usage
    assert len(agent.model.asked) == 1


def test_what_is_asked_tells_requests_apart(step: MemoryStep) -> None:
    """Of a tool that is described otherwise, of other settings: each is another request."""
    said = Says(lambda _: [assistant_message("yes")])

    def agent(describes: str, **about: Any) -> Agent[Any]:
        @function_tool(description_override=describes)
        def look() -> str:
            return ""

        return Agent(name="x", model=said, tools=[look], **about)

    for one in (
        agent("Look."),
        agent("Look twice."),
        agent("Look.", instructions="Be brief."),
        agent("Look.", output_type=int),
        agent("Look.", handoffs=[Agent(name="y")]),
    ):
        with suppress(AgentFailedError):  # "yes" is no int
            answer(one, step)
    assert len(said.asked) == len({key for name, key, _ in step.finished}) == 5


def pays(done: list[int], needs_approval: Any = True) -> Any:
    @function_tool(needs_approval=needs_approval)
    def pay(cents: int) -> dict[str, int]:
        """Pay."""
        done.append(cents)
        return {"paid": cents}

    return pay


def said(step: MemoryStep, wish: Any, choice: Any) -> None:
    step.ended[wish.key] = Outcome(state=State.SUCCEEDED, value=choice)


@pytest.mark.parametrize(
    ("choice", "result", "effects"),
    [
        (True, "{'paid': 7}", [7]),
        ({"arguments": {"cents": 5}}, "{'paid': 5}", [5]),
        ("too much", "too much", []),
    ],
)
def test_a_person_approves(step: MemoryStep, choice: Any, result: str, effects: list[int]) -> None:
    done: list[int] = []
    model = Says(
        lambda items: (
            [assistant_message(str(items[-1]["output"]))]
            if results(items)
            else [function_call("pay", {"cents": 7}, call_id="c")]
        )
    )
    agent = Agent(name="x", model=model, tools=[pays(done)])
    waits = ask(agent, step)
    assert isinstance(waits, Expand)
    (wish,) = waits.members
    assert wish.input["tool"] == "pay"
    assert wish.input["arguments"] == {"cents": 7}
    assert ask(agent, step.again()).members[0].key == wish.key
    said(step, wish, choice)
    assert answer(agent, step.again()).value == result
    assert answer(agent, step.again()).value == result
    assert done == effects
    assert len(model.asked) == 2


def test_an_approved_tool_that_nobody_knows_of_is_not_done_again(step: MemoryStep) -> None:
    @function_tool(needs_approval=True)
    async def pay() -> str:
        """Pay."""
        raise KilledError

    agent = Agent(
        name="x", model=Says(lambda _: [function_call("pay", {}, call_id="c")]), tools=[pay]
    )
    (wish,) = ask(agent, step).members
    said(step, wish, True)
    with pytest.raises((KilledError, BaseExceptionGroup)):
        ask(agent, step.again())
    with pytest.raises(UncertainCallError):
        ask(agent, step.again())


def test_a_person_approves_within_an_agent_that_is_a_tool(step: MemoryStep) -> None:
    done: list[int] = []

    def payer(items: list[Any]) -> Any:
        if results(items):
            return [assistant_message("is paid")]
        return [function_call("pay", {"cents": 7}, call_id="p")]

    def boss(items: list[Any]) -> Any:
        if results(items):
            return [assistant_message(str(items[-1]["output"]))]
        return [function_call("delegate", {"input": "x"}, call_id="d")]

    inner = Agent(name="payer", model=Says(payer), tools=[pays(done)])
    agent = Agent(name="boss", model=Says(boss), tools=[inner.as_tool("delegate", "")])
    (wish,) = ask(agent, step).members
    said(step, wish, True)
    assert answer(agent, step.again()).value == "is paid"
    assert done == [7]


def test_a_rule_for_approvals_sees_arguments(step: MemoryStep) -> None:
    done: list[int] = []

    async def much(_: Any, parameters: dict[str, Any], __: str) -> bool:
        return bool(parameters["cents"] > 5)

    agent = scripted(
        [function_call("pay", {"cents": 3}, call_id="a")],
        [function_call("pay", {"cents": 7}, call_id="b")],
        tools=[pays(done, much)],
    )
    (wish,) = ask(agent, step).members
    assert (done, wish.input["arguments"]) == ([3], {"cents": 7})


def test_errors_of_tools_are_told_and_those_of_steps_are_not(step: MemoryStep) -> None:
    @function_tool
    def broken() -> str:
        """Break."""
        raise ValueError("out of order")

    @function_tool
    def limited() -> str:
        """Wait."""
        raise RateLimitedError("later")

    told = answer(
        scripted(
            [function_call("broken", {}, call_id="c")], [assistant_message("hm")], tools=[broken]
        ),
        step,
    )
    assert "An error occurred" in told.turns[-1].text
    with pytest.raises(RateLimitedError, match="later"):
        ask(scripted([function_call("limited", {}, call_id="c")], tools=[limited]), step)
    sub = scripted([function_call("limited", {}, call_id="c")], tools=[limited])
    calls = [function_call("sub", {"input": "x"}, call_id="d")]
    with pytest.raises(RateLimitedError, match="later"):
        ask(scripted(calls, tools=[sub.as_tool("sub", "")]), step)


@pytest.mark.parametrize(
    "options",
    [
        {"previous_response_id": "resp_1"},
        {"conversation_id": "conv_1"},
        {"auto_previous_response_id": True},
        {"session": OpenAIConversationsSession(conversation_id="x", openai_client=object())},
    ],
)
def test_a_conversation_of_a_server_is_refused(step: MemoryStep, options: Any) -> None:
    inner = scripted([assistant_message("nobody comes here")])

    @function_tool
    async def refers() -> str:
        """Refer."""
        return str((await Runner.run(inner, "x", **options)).final_output)

    with pytest.raises(ConfigurationError, match="cannot be played again"):
        ask(scripted([function_call("refers", {}, call_id="c")], tools=[refers]), step)


def test_a_session_of_the_sdk_grows_once(step: MemoryStep, tmp_path: Path) -> None:
    agent = Agent(name="x", model=Says(lambda items: [assistant_message(f"{len(items)}")]))

    async def run(killed: bool) -> str:
        stand_in(step)
        session = SQLiteSession("talk", tmp_path / "talk.db")
        said = [await Runner.run(agent, t, session=session) for t in ("one", "two")]
        if killed:
            raise KilledError
        assert len(await session.get_items()) == 4
        return " ".join(str(one.final_output) for one in said)

    with pytest.raises(KilledError):
        asyncio.run(run(True))
    step.again()
    assert asyncio.run(run(False)) == "1 3"
    assert len(agent.model.asked) == 2


def test_it_streams_and_replays(step: MemoryStep) -> None:
    step.streamed = True
    agent = Agent(name="x", model=Says(lambda _: [assistant_message("otter")]))
    assert answer(agent, step).value == "otter"
    assert step.events == [("text", "o"), ("text", "tter")]
    assert answer(agent, step.again()).value == "otter"
    assert step.events[2:] == [("text", "otter")]


def test_a_streamed_run_of_ones_own(step: MemoryStep) -> None:
    agent = Agent(name="x", model=Says(lambda _: [assistant_message("otter")]))

    async def run() -> str:
        stand_in(step)
        result = Runner.run_streamed(agent, "x", run_config=RunConfig())
        async for _ in result.stream_events():
            pass
        return str(result.final_output)

    assert asyncio.run(run()) == "otter"
    step.again()
    assert asyncio.run(run()) == "otter"
    assert len(agent.model.asked) == 1


def test_a_durable_client_below_counts_once(step: MemoryStep) -> None:
    def sends(request: httpx2.Request) -> httpx2.Response:
        message = {"role": "assistant", "content": "yes"}
        about = {"id": "x", "created": 0, "model": "m", "object": "chat.completion"}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        used = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
        keys.append(request.headers["idempotency-key"])
        return httpx2.Response(200, json={**about, "choices": [choice], "usage": used})

    keys: list[str] = []
    http = httpx2.AsyncClient(transport=httpx2.MockTransport(sends))
    client = AsyncOpenAI(api_key="sk-x", http_client=http)
    client = durable_client(client, price={"input_usd": 9, "output_usd": 9})
    agent = Agent(name="x", model=OpenAIChatCompletionsModel("m", openai_client=client))
    assert answer(agent, step).usage.calls == 1
    assert step.calls == ["model:m"]
    assert keys == ["step-1-1"]


def test_forms(step: MemoryStep) -> None:
    ballot = json.dumps({"option": "NO", "reason": "because"})
    turn = Turn(input="x", choices=("yes", "no"))
    found = answer(scripted([assistant_message(ballot)]), step, turn).value
    assert found["option"] == "no"
    turn = Turn(input="x", answer_schema={"type": "object", "properties": {}})
    assert answer(scripted([assistant_message('{"a": 1}')]), step, turn).value == {"a": 1}
    with pytest.raises(AgentFailedError, match="no JSON"):
        answer(scripted([assistant_message("hm")]), step, Turn(input="y", choices=("a", "b")))


def test_the_conversation_is_told(step: MemoryStep) -> None:
    model = Says(lambda _: [assistant_message("yes")])
    messages = (
        ChatMessage(role="user", content="one"),
        ChatMessage.model_validate(
            {"role": "assistant", "tool_calls": [{"id": "c", "name": "dig", "arguments": {"a": 1}}]}
        ),
        ChatMessage(role="tool", content="dug", call_id="c"),
        ChatMessage(role="assistant", content="two"),
    )
    turn = Turn(input="three", messages=messages, instructions="Be brief.")
    answer(Agent(name="x", model=model), step, turn)
    assert model.asked[0]["input"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "one"},
        {"type": "function_call", "call_id": "c", "name": "dig", "arguments": '{"a": 1}'},
        {"type": "function_call_output", "call_id": "c", "output": "dug"},
        {"role": "assistant", "content": "two"},
        {"role": "user", "content": "three"},
    ]


def test_what_cannot_be_durable_is_refused(step: MemoryStep) -> None:
    shell = Agent(name="x", tools=[ShellTool(executor=print)])
    with pytest.raises(ConfigurationError, match="ShellTool cannot be made durable"):
        ask(shell, step)
    with pytest.raises(ConfigurationError, match="MCP servers"):
        ask(Agent(name="x", mcp_servers=[object()]), step)
    with pytest.raises(ConfigurationError, match="no Agent"):
        ask(durable_client, step)
    with pytest.raises(AgentFailedError, match="Max turns"):
        ask(
            scripted([function_call("pay", {"cents": 1}, call_id="c")], tools=[pays([], False)]),
            step,
            max_turns=1,
        )


def test_the_example(step: MemoryStep) -> None:
    import support

    def scripts() -> None:  # of another process
        support.support.model = ScriptedModel(
            [
                [function_call("translate", {"input": "Geld zurück für 7"}, call_id="a")],
                [function_call("transfer_to_billing", {}, call_id="b")],
            ]
        )
        support.translator.model = ScriptedModel([[assistant_message("Money back for 7")]])
        support.billing.model = ScriptedModel(
            [
                [function_call("find_order", {"number": 7}, call_id="c")],
                [function_call("refund", {"number": 7, "cents": 900}, call_id="d")],
                [assistant_message("It is on its way.")],
            ]
        )

    scripts()
    (wish,) = ask(support.support, step).members
    assert wish.input["tool"] == "refund"
    said(step, wish, True)
    asked = list(step.calls)
    # What the first worker has got is known to the next one, whose models have not begun.
    support.billing.model = ScriptedModel([[assistant_message("It is on its way.")]])
    assert answer(support.support, step.again()).value == "It is on its way."
    assert Counter(step.calls) - Counter(asked) == {"tool:refund": 1, "model:ScriptedModel": 1}


def test_outside_of_steps_it_runs_as_always() -> None:
    done: list[int] = []

    @function_tool
    def seen(ctx: RunContextWrapper[Any]) -> str:
        """See."""
        done.append(1)
        return "seen"

    model = Says(
        lambda items: (
            [assistant_message("yes")]
            if results(items)
            else [function_call("seen", {}, call_id="c")]
        )
    )
    agent = Agent(name="x", model=model, tools=[seen])
    for _ in range(2):
        assert asyncio.run(Runner.run(agent, "x")).final_output == "yes"
    assert (len(done), len(model.asked)) == (2, 4)
