"""Agents that reply as a test has written, in the process that asks them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from functools import cached_property
from typing import Any

from agents.base import Answer, Backend, StepContext, Turn, Usage
from agents.catalog.registry import Registered
from agents.kinds.model import ModelBackend
from agents.models.provider import Completion, ModelRequest, OnText, Provider, Reply, Tokens
from agents.tools.calls import ToolCall
from agents.values import text_of
from app.testing.replies import ReplyStore, WrittenReply
from celery_agents.contracts.base import JsonValue
from celery_agents.contracts.schema import ANSWER
from celery_agents.errors import AgentFailedError

#: Asks an agent.
Ask = Callable[[Turn, StepContext], Awaitable[Any]]


class ScriptedProvider:
    """A provider's place in an agent: replies of a script, the real one's where it may be asked."""

    def __init__(self, agent: str, inner: Provider, store: ReplyStore, *, real: bool) -> None:
        self._agent = agent
        self._inner = inner
        self._store = store
        self._real = real

    @property
    def schema_with_tools(self) -> bool:
        """As the real one's."""
        return self._inner.schema_with_tools

    def takes(self, schema: dict[str, Any]) -> bool:
        """As the real one does."""
        return self._inner.takes(schema)

    async def complete(
        self, request: ModelRequest, *, idempotency_key: str, on_text: OnText
    ) -> Completion:
        """Reply as the script says.

        Raises:
            AgentFailedError: it has no script, and no model is asked for real.
        """
        told = _told(request)
        reply = self._store.take(self._agent, text_of(told["input"]))
        self._store.note(self._agent, told)
        if reply is None and self._real:
            about: Any = {"idempotency_key": idempotency_key, "on_text": on_text}
            return await self._inner.complete(request, **about)
        if reply is None:
            raise AgentFailedError(
                f"The model of the agent {self._agent!r} is asked, and the test has no reply for "
                f"it: write scripted({self._agent!r}).answers(…), or let models be asked for real "
                "with agents_models = real in pytest's configuration."
            )
        return await _completed(reply, request, on_text, idempotency_key)

    async def aclose(self) -> None:
        """Close the real one."""
        await self._inner.aclose()


def _told(request: ModelRequest) -> dict[str, Any]:
    """A request as tests see it."""
    last = request.history[-1].text if request.history and request.user is None else request.user
    results = [result for exchange in request.exchanges for result in exchange.results]
    return {
        "input": last,
        "system": request.system,
        "tools": [tool.name for tool in request.tools],
        "results": [result.value for result in results],
        "complaints": [e.complaint for e in request.exchanges if e.complaint],
        "schema": request.answer_schema,
    }


async def _completed(
    reply: WrittenReply, request: ModelRequest, on_text: OnText, key: str
) -> Completion:
    await asyncio.sleep(reply.after_s)
    if reply.error is not None:
        raise reply.exception()
    for piece in reply.pieces if request.stream else ():
        await asyncio.sleep(reply.pause_s)
        await on_text(piece)
    text = "" if reply.calls else _text(reply.value, request.answer_schema)
    calls = tuple(
        ToolCall(id=f"call-{key[:8]}-{place}", name=name, arguments=arguments)
        for place, (name, arguments) in enumerate(reply.calls)
    )
    if request.stream and text and not reply.pieces:
        await on_text(text)
    tokens = Tokens(reply.input_tokens, reply.output_tokens)
    return Completion(Reply(text=text, tool_calls=calls), tokens)


def _text(value: JsonValue, schema: dict[str, Any] | None) -> str:
    """The text by which a model gives a value in the form that is asked for."""
    known = (schema or {}).get("properties", {})
    if schema is None:
        return text_of(value)
    if "option" in known and not isinstance(value, dict):
        value = {"reason": "scripted", "option": value, "confidence": 1.0}
    elif known.keys() == {ANSWER} and not (isinstance(value, dict) and value.keys() == {ANSWER}):
        value = {ANSWER: value}
    elif isinstance(value, str):  # JSON that the test has written itself, or what is none
        return value
    return json.dumps(value)


def play(agent: str, backend: Backend, store: ReplyStore, *, real: bool) -> Backend:
    """Have a backend reply as its agent's script says; without one it answers as ever."""
    if isinstance(backend, ModelBackend):
        of_model: Any = backend
        of_model._provider = ScriptedProvider(agent, of_model._provider, store, real=real)  # noqa: SLF001 - the one place where a test stands in for a model
        return backend
    ask: Ask = backend.answer

    async def answer(turn: Turn, step: StepContext) -> Any:
        asked = {"input": turn.input, "instructions": turn.instructions, "choices": turn.choices}
        reply = store.take(agent, text_of(turn.input))
        store.note(agent, asked)
        return await ask(turn, step) if reply is None else await _answered(agent, reply, step)

    about: Any = backend
    about.answer = answer
    return backend


async def _answered(agent: str, reply: WrittenReply, step: StepContext) -> Answer:
    await asyncio.sleep(reply.after_s)
    if reply.error is not None:
        raise reply.exception()
    if reply.calls:
        raise AgentFailedError(f"{agent!r} is no model, so its script can call no tools.")
    for piece in reply.pieces:
        await asyncio.sleep(reply.pause_s)
        step.say(piece)
    return Answer(value=reply.value, usage=Usage(calls=1))


def play_all(store: ReplyStore, *, real: bool) -> None:
    """Have all agents of this process reply so, from when their backends are made."""

    def backend(agent: Registered) -> Backend:
        return play(agent.name, agent.make(), store, real=real)

    told: Any = cached_property(backend)
    told.__set_name__(Registered, "backend")
    of_class: Any = Registered  # of a process that tests start, for its life
    of_class.backend = told
