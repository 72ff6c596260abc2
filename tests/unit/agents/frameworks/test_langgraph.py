"""Graphs of LangGraph inside a step, with chat models of LangChain: what is paid is paid once."""

from __future__ import annotations

import asyncio
import operator
from collections.abc import AsyncIterator, Callable
from functools import wraps
from typing import Annotated, Any, TypedDict

import pytest

pytest.importorskip("langgraph", reason="needs the extra langgraph")

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import Command, Send, interrupt

from agents.base import Answer, Turn
from agents.catalog.kinds import all_kinds, entry_of
from agents.current import stand_in
from agents.frameworks.clients import durable_client
from agents.frameworks.langgraph import LangGraphBackend
from agents.plan import Expand
from celery_agents.contracts.conversation import ChatMessage, ToolUse
from celery_agents.contracts.outcome import Outcome, State
from celery_agents.errors import AgentFailedError, ConfigurationError, RateLimitedError
from tests.support.memory_step import KilledError, MemoryStep, World

PRICE = {"input_usd": 1.0, "output_usd": 2.0}
USAGE: Any = {"input_tokens": 100, "output_tokens": 20, "total_tokens": 120}


def runs(test: Callable[..., Any]) -> Callable[..., None]:
    @wraps(test)
    def run(*given: Any, **named: Any) -> None:
        asyncio.run(test(*given, **named))

    return run


class Echo(BaseChatModel):
    """Says what it is told, louder."""

    world: Any
    error: Any = None

    @property
    def _llm_type(self) -> str:
        return "echo"

    def _said(self, messages: list[BaseMessage]) -> AIMessage:
        if self.error is not None:
            raise self.error
        told = str(messages[-1].content)
        self.world.act(self.world.models, told)
        return AIMessage(f"{told}!", usage_metadata=USAGE)

    def _generate(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **_: Any
    ) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=self._said(messages))])

    async def _agenerate(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **_: Any
    ) -> ChatResult:
        await asyncio.sleep(0)
        return self._generate(messages)


def anything(graph: Any) -> Any:
    """A graph whose nodes' types nobody checks."""
    return graph


class Streaming(Echo):
    async def _astream(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **_: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        said = self._said(messages)
        for piece in (str(said.content)[:1], str(said.content)[1:]):
            yield ChatGenerationChunk(message=AIMessageChunk(content=piece))
        yield ChatGenerationChunk(message=AIMessageChunk(content="", usage_metadata=USAGE))


class Found(TypedDict):
    found: Annotated[list[str], operator.add]


class Parts(TypedDict, total=False):
    topic: str
    a: str
    b: str
    c: str
    whole: str


def fanned(world: World) -> Any:
    """A plan, three nodes side by side that ask twice, one of them in a thread, and a summary."""
    model = durable_client(Echo(world=world), price=PRICE)

    async def ask(what: str) -> str:
        return str((await model.ainvoke(what)).content)

    def branch(name: str) -> Callable[[Parts], Any]:
        async def node(state: Parts) -> Any:
            return {name: await ask(await ask(f"{state['topic']}{name}"))}

        return node

    def threaded(state: Parts) -> Any:
        first = str(model.invoke(f"{state['topic']}c").content)
        return {"c": str(model.invoke(first).content)}

    async def plan(state: Parts) -> Any:
        return {"topic": await ask(state["topic"])}

    async def summary(state: Parts) -> Any:
        return {"whole": await ask("".join(state[n] for n in "abc"))}  # type: ignore[literal-required]

    graph: Any = StateGraph(Parts)
    graph.add_node("plan", plan)
    graph.add_node("summary", summary)
    for name in "ab":
        graph.add_node(f"node_{name}", branch(name))
    graph.add_node("node_c", threaded)
    graph.add_edge(START, "plan")
    for name in "abc":
        graph.add_edge("plan", f"node_{name}")
        graph.add_edge(f"node_{name}", "summary")
    graph.add_edge("summary", END)
    return graph.compile()


async def ran(backend: LangGraphBackend, step: MemoryStep, turn: Turn) -> Any:
    async def within() -> Any:
        stand_in(step)
        return await backend.answer(turn, step)

    return await asyncio.create_task(within())


@pytest.mark.parametrize("kills", [[], [0], [1], [2], [3], [4, 1], [6], [7], [2, 2, 1]])
@runs
async def test_what_is_paid_is_paid_once(kills: list[int], step: MemoryStep) -> None:
    world = World()
    backend = LangGraphBackend(fanned(world), "my_app:graph")
    turn = Turn(input={"topic": "t"})
    for left in kills:
        world.left = left
        # LangChain does not expect that something else than an Exception ends a model.
        with pytest.raises((KilledError, AgentFailedError)):
            await ran(backend, step.again(), turn)
    world.left = None
    answer = await ran(backend, step.again(), turn)
    assert answer.value["whole"] == "t!a!!t!b!!t!c!!!"
    assert len(world.models) == 8
    # At a kill, the two beside the one that dies may have been paid and not written down.
    assert sum(world.models.values()) <= 8 + 2 * len(kills)
    assert world.models["t"] == 1


@runs
async def test_a_finished_node_is_not_run_again(step: MemoryStep) -> None:
    world = World()

    def first(_: Parts) -> Any:
        world.act(world.tools, "first")
        return {"a": "1"}

    def second(_: Parts) -> Any:
        world.act(world.tools, "second")
        return {"b": "2"}

    graph: Any = StateGraph(Parts)
    graph = graph.add_sequence([first, second]).add_edge(START, "first")
    backend = LangGraphBackend(graph, "my_app:graph")  # not compiled
    world.left = 1
    with pytest.raises(KilledError):
        await ran(backend, step, Turn(input={"topic": "t"}))
    world.left = None
    answer = await ran(backend, step.again(), Turn(input={"topic": "t"}))
    assert answer.value == {"topic": "t", "a": "1", "b": "2"}
    assert world.tools == {"first": 1, "second": 1}
    # One that had come to its end, and whose end was not written, says the same.
    again = await ran(backend, step.again(), Turn(input={"topic": "t"}))
    assert (again.value, sum(world.tools.values())) == (answer.value, 2)


@runs
async def test_usage_and_price(step: MemoryStep) -> None:
    backend = LangGraphBackend(fanned(World()), "my_app:graph")
    answer = await ran(backend, step, Turn(input={"topic": "t"}))
    assert (answer.usage.calls, answer.usage.input_tokens) == (8, 800)
    assert answer.usage.cost_usd == pytest.approx(8 * 140 / 1e6)


def talker(model: BaseChatModel) -> Any:
    async def talk(state: MessagesState) -> Any:
        return {"messages": [await model.ainvoke(state["messages"])]}

    return StateGraph(MessagesState).add_node(talk).add_edge(START, "talk").compile()


@runs
async def test_a_text_is_a_message_and_the_last_one_is_the_answer(step: MemoryStep) -> None:
    seen: list[list[tuple[str, Any]]] = []

    class Seeing(Echo):
        def _said(self, messages: list[BaseMessage]) -> AIMessage:
            seen.append([(m.type, m.content) for m in messages])
            return super()._said(messages)

    backend = LangGraphBackend(talker(durable_client(Seeing(world=World()))), "my_app:graph")
    call = ToolUse(id="1", name="look", arguments={"at": 1})
    before = (
        ChatMessage(role="user", content="hi"),
        ChatMessage(role="assistant", content="", tool_calls=(call,)),
        ChatMessage(role="tool", content="seen", call_id="1"),
    )
    turn = Turn(input="now", messages=before, instructions="Be loud.")
    answer = await ran(backend, step, turn)
    assert answer.value == "now!"
    told = [("system", "Be loud."), ("human", "hi"), ("ai", ""), ("tool", "seen"), ("human", "now")]
    assert seen == [told]
    assert (await ran(backend, MemoryStep(), Turn(input="Yes", choices=("yes!", "no")))).value == (
        "yes!"
    )


@runs
async def test_streams_come_as_they_arrive_and_once_more_in_one_piece(step: MemoryStep) -> None:
    world = World()
    step.streamed = True
    backend = LangGraphBackend(talker(durable_client(Streaming(world=world))), "my_app:graph")
    answer = await ran(backend, step, Turn(input="hey"))
    assert answer.value == "hey!"
    assert "".join(str(text) for kind, text in step.events if kind == "text") == "hey!"
    step.graphs._threads.clear()  # killed before the checkpoint, not before the call's end
    step.events.clear()
    assert (await ran(backend, step.again(), Turn(input="hey"))).value == "hey!"
    assert [text for kind, text in step.events if kind == "text"] == ["hey!"]
    assert world.models == {"hey": 1}
    assert step.spent.input_tokens == 100


def asking(world: World) -> Any:
    """A node that asks twice, beside one that asks once; effects come after."""

    def twice(_: Parts) -> Any:
        said = [interrupt({"pay": n}) for n in (1, 1)]
        world.act(world.tools, "twice")
        return {"a": f"{said}"}

    def once(_: Parts) -> Any:
        said = interrupt("sure?")
        world.act(world.tools, "once")
        return {"b": f"{said}"}

    graph: Any = anything(StateGraph(Parts)).add_node(twice).add_node(once)
    return graph.add_edge(START, "twice").add_edge(START, "once").compile()


@runs
async def test_interrupts_wait_for_people(step: MemoryStep) -> None:
    world = World()
    backend = LangGraphBackend(asking(world), "my_app:graph")
    turn = Turn(input={"topic": "t"})
    first = await ran(backend, step, turn)
    assert isinstance(first, Expand)
    assert [m.waits for m in first.members] == [True, True]
    asked = {str(m.input["question"]): m.key for m in first.members}  # type: ignore[index,call-overload]
    assert asked.keys() == {"{'pay': 1}", "sure?"}
    # The step is tried again meanwhile: the same wishes, under the same keys.
    assert await ran(backend, step.again(), turn) == first
    for key, value in ((asked["{'pay': 1}"], {"yes": 1}), (asked["sure?"], "of course")):
        step.ended[key] = Outcome(state=State.SUCCEEDED, value=value)
    second = await ran(backend, step.again(), turn)
    assert isinstance(second, Expand)
    (wish,) = second.members  # the same question, once more: a wish of its own
    assert wish.key not in step.ended
    assert world.tools == {"once": 1}
    step.ended[wish.key] = Outcome(state=State.SUCCEEDED, value=False)
    world.left = 0
    with pytest.raises(KilledError):
        await ran(backend, step.again(), turn)
    world.left = None
    answer = await ran(backend, step.again(), turn)
    assert answer.value == {"topic": "t", "a": "[{'yes': 1}, False]", "b": "of course"}
    assert world.tools == {"once": 1, "twice": 1}


@runs
async def test_a_question_that_nobody_answered_fails_the_step(step: MemoryStep) -> None:
    backend = LangGraphBackend(asking(World()), "my_app:graph")
    first = await ran(backend, step, Turn(input={"topic": "t"}))
    step.ended = {m.key: Outcome(state=State.CANCELLED) for m in first.members}
    with pytest.raises(AgentFailedError, match="Nobody answered"):
        await ran(backend, step.again(), Turn(input={"topic": "t"}))


@runs
async def test_subgraphs_functions_and_commands(step: MemoryStep) -> None:
    """An interrupt within a subgraph, sent to twice; and the functional API."""

    def ask(state: Parts) -> Any:
        return {"a": interrupt(f"go {state['topic']}?")}

    sub = StateGraph(Parts).add_node(ask).add_edge(START, "ask").compile()

    async def each(state: Parts) -> Command[Any]:
        told = await sub.ainvoke(state)
        return Command(update={"found": [told["a"]]})

    def spread(_: Found) -> list[Send]:
        return [Send("each", {"topic": t}) for t in "xy"]

    graph: Any = StateGraph(Found).add_node("each", each)
    graph.add_conditional_edges(START, spread)
    backend = LangGraphBackend(graph.compile(), "my_app:graph")
    wanted = await ran(backend, step, Turn(input={"found": []}))
    assert sorted(m.input["question"] for m in wanted.members) == ["go x?", "go y?"]
    for member in wanted.members:
        said = Outcome(state=State.SUCCEEDED, value=member.input["question"][3])
        step.ended[member.key] = said
    assert (await ran(backend, step.again(), Turn(input={"found": []}))).value == {
        "found": ["x", "y"]
    }

    @task
    async def louder(text: str) -> str:
        return text.upper()

    @entrypoint()
    async def flow(text: str) -> str:
        said: str = await louder(text) + interrupt("and?")
        return said

    backend, other = LangGraphBackend(flow, "my_app:flow"), MemoryStep()
    (wish,) = (await ran(backend, other, Turn(input="hi"))).members
    other.ended[wish.key] = Outcome(state=State.SUCCEEDED, value="!")
    assert (await ran(backend, other.again(), Turn(input="hi"))).value == "HI!"


@runs
async def test_nodes_have_their_step(step: MemoryStep) -> None:
    async def charge(_: Parts, config: RunnableConfig) -> Any:
        async def pay(key: str) -> Answer:
            return Answer(value=key)

        own = config["configurable"]["step"]
        return {"a": (await own.call("charge", pay)).value}

    graph: Any = anything(StateGraph(Parts)).add_node(charge).add_edge(START, "charge").compile()
    answer = await ran(LangGraphBackend(graph, "x:y"), step, Turn(input={}))
    assert answer.value == {"a": "step-1-1"}


@runs
async def test_errors_of_models_are_those_that_they_tell(step: MemoryStep) -> None:
    class TooManyError(Exception):
        status_code = 429

    caught: list[Exception] = []
    model = durable_client(Echo(world=World(), error=TooManyError("slow down")))

    async def node(_: Parts) -> Any:
        try:
            await model.ainvoke("x")
        except TooManyError as error:
            caught.append(error)
            raise

    graph: Any = anything(StateGraph(Parts)).add_node(node).add_edge(START, "node").compile()
    with pytest.raises(RateLimitedError):
        await ran(LangGraphBackend(graph, "x:y"), step, Turn(input={"topic": "t"}))
    assert len(caught) == 1


@runs
async def test_a_graph_that_runs_in_circles_fails_for_good(step: MemoryStep) -> None:
    def round_(_: Parts) -> Any:
        return {"a": "1"}

    graph: Any = anything(StateGraph(Parts)).add_node("round", round_).add_edge(START, "round")
    endless = graph.add_edge("round", "round").compile().with_config(recursion_limit=5)
    backend = LangGraphBackend(endless, "x:y")
    with pytest.raises(AgentFailedError, match="Recursion"):
        await ran(backend, step, Turn(input={"topic": "t"}))


@runs
async def test_what_would_stop_the_loop_is_refused(step: MemoryStep) -> None:
    model = durable_client(Echo(world=World()))

    async def node(_: Parts) -> Any:
        return {"a": model.invoke("x").content}

    graph: Any = anything(StateGraph(Parts)).add_node(node).add_edge(START, "node").compile()
    with pytest.raises(ConfigurationError, match="ainvoke"):
        await ran(LangGraphBackend(graph, "x:y"), step, Turn(input={"topic": "t"}))


@runs
async def test_outside_of_steps_models_are_as_they_were() -> None:
    world = World()
    model = durable_client(Streaming(world=world))
    assert isinstance(model, Streaming)
    assert [str(c.content) async for c in model.astream("hey")][:2] == ["h", "ey!"]
    assert (await model.ainvoke("a")).content == "a!"
    assert model.invoke("b").content == "b!"


def test_entries() -> None:
    kinds = all_kinds()
    entry = entry_of({"kind": "langgraph", "agent": "json:loads"}, kinds)
    resources: Any = None
    with pytest.raises(ConfigurationError, match="is no graph of LangGraph"):
        kinds["langgraph"].make(entry, resources)
    forgetful = asking(World()).copy({"checkpointer": InMemorySaver()})
    with pytest.raises(ConfigurationError, match="in memory"):
        LangGraphBackend(forgetful, "x:y")
    with pytest.raises(ConfigurationError, match="before or after"):
        LangGraphBackend(
            StateGraph(Parts)
            .add_node("a", lambda _: {})
            .add_edge(START, "a")
            .compile(interrupt_before=["a"]),
            "x:y",
        )
