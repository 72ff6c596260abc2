"""Graphs of LangGraph as agents: each a thread of the journal, their interrupts asked of people."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import GraphRecursionError
from langgraph.graph import StateGraph
from langgraph.pregel import Pregel
from langgraph.types import Command, Interrupt, StateSnapshot

from agents.base import Answer, StepContext, Turn
from agents.frameworks.answers import json_of
from agents.frameworks.backend import LibraryBackend
from agents.frameworks.langgraph_saver import STEP, StepSaver
from agents.patterns.vote.options import match
from agents.plain import plain_json
from agents.plan import Expand, Member
from agents.values import text_of
from celery_agents import names
from celery_agents.contracts.conversation import ChatMessage
from celery_agents.contracts.vote import Normalisation
from celery_agents.errors import AgentFailedError, ConfigurationError

_MESSAGES = "messages"
#: Where ``create_agent`` gives an answer that has a schema.
_STRUCTURED = "structured_response"


class LangGraphBackend(LibraryBackend):
    """A graph of LangGraph as an agent of ours.

    Args:
        graph: the object; one that is not compiled yet is.
        path: where it stands, for errors.

    Raises:
        ConfigurationError: it is no graph, or one whose threads do not outlive a worker.
    """

    def __init__(self, graph: Any, path: str) -> None:
        super().__init__(path)
        if isinstance(graph, StateGraph):
            graph = graph.compile()
        if not isinstance(graph, Pregel):
            raise ConfigurationError(f"{path} is no graph of LangGraph.")
        if graph.interrupt_before_nodes or graph.interrupt_after_nodes:
            raise ConfigurationError(
                f"{path} stops before or after nodes, with nothing to ask: interrupt() in a node "
                "asks a person."
            )
        if isinstance(graph.checkpointer, InMemorySaver):
            raise ConfigurationError(
                f"{path} keeps its threads in memory: leave its checkpointer out, so that they are "
                "in the journal."
            )
        if not graph.checkpointer or graph.checkpointer is True:
            graph = graph.copy({"checkpointer": StepSaver()})
        self._graph = graph

    async def _answered(self, turn: Turn, step: StepContext) -> Answer | Expand:
        config = {"configurable": {"thread_id": STEP + step.step_id, "step": step}}
        state: StateSnapshot = await self._graph.aget_state(config)
        given = self._given(turn) if state.created_at is None else None
        while True:
            if state.interrupts:
                given = await _resumed(state.interrupts, step)
                if isinstance(given, Expand):
                    return given
            output = await self._run(given, config, step)
            state = await self._graph.aget_state(config)
            if not state.interrupts:
                return Answer(value=_value(output, turn), usage=await step.spent_in_all())

    async def _run(self, given: Any, config: Any, step: StepContext) -> Any:
        """Run it until its end, or until it asks; watchers are told its models' text."""
        output, modes = None, ["values", _MESSAGES] if step.streamed else ["values"]
        # Each checkpoint is written before what follows: a killed worker's finished nodes are over.
        stream = self._graph.astream(given, config, stream_mode=modes, durability="sync")
        try:
            async for mode, told in stream:
                if mode == "values":
                    output = told
                elif isinstance(told[0], AIMessage) and (text := str(told[0].text)):
                    step.say(text)
        except GraphRecursionError as error:  # it would come as far in each attempt
            raise AgentFailedError(f"{self._path}: {error}") from None
        return output

    def _given(self, turn: Turn) -> Any:
        """The input: an object as it is, all else as a message where the graph has messages."""
        if _MESSAGES not in self._graph.channels:
            return turn.input
        told = list(_messages_of(turn.messages))
        if turn.instructions:
            told.insert(0, SystemMessage(turn.instructions))
        if isinstance(turn.input, dict):
            own: Any = turn.input.get(_MESSAGES, [])
            return {**turn.input, _MESSAGES: [*told, *own]}
        if turn.input is not None or not told:
            told.append(HumanMessage(text_of(turn.input)))
        return {_MESSAGES: told}


async def _resumed(asked: Iterable[Interrupt], step: StepContext) -> Command[Any] | Expand:
    """The answers of people, by the questions' ids; or the wishes that wait for them."""
    ended, wishes, answers = await step.answered(), [], {}
    for one in asked:
        key = f"@{one.id}"
        if (outcome := ended.get(key)) is None:
            try:
                wish = {"question": plain_json(one.value)}
            except ValueError as error:
                raise AgentFailedError(f"It asks what has no JSON form: {error}") from None
            about: Any = {"task": names.APPROVAL, "input": wish, "options": {}, "waits": True}
            wishes.append(Member(key=key, **about))
        elif outcome.ok:
            answers[one.id] = outcome.value
        else:
            told = outcome.error and outcome.error.message
            raise AgentFailedError(f"Nobody answered what it asked: {told or outcome.state}.")
    return Expand(members=tuple(wishes)) if wishes else Command(resume=answers)


def _messages_of(messages: Iterable[ChatMessage]) -> Iterable[BaseMessage]:
    """A conversation as LangChain has it."""
    for message in messages:
        if message.role == "assistant":
            calls: Any = [
                {"name": call.name, "args": call.arguments or {}, "id": call.id}
                for call in message.tool_calls
            ]
            yield AIMessage(message.text, tool_calls=calls)
        elif message.role == "tool":
            yield ToolMessage(message.text, tool_call_id=message.call_id or "")
        else:
            kind = SystemMessage if message.role == "system" else HumanMessage
            yield kind(message.text)


def _value(output: Any, turn: Turn) -> Any:
    """The answer: what was said last where a message was asked, else the state as it is."""
    if isinstance(output, dict) and _MESSAGES in output and not isinstance(turn.input, dict):
        output = output.get(_STRUCTURED) or _said(output[_MESSAGES])
    value = json_of(output)
    if turn.choices and isinstance(value, str):
        return match(value, turn.choices, Normalisation()) or value
    return value


def _said(messages: Any) -> Any:
    last = messages[-1] if messages else None
    return str(last.text) if isinstance(last, BaseMessage) else last
