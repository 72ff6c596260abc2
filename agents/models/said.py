"""The turns of a model's answer as messages of a conversation, which any provider takes later."""

from __future__ import annotations

import re
from collections.abc import Iterable

from agents.models.provider import Exchange
from agents.tools.calls import ToolCall
from agents.values import text_of
from celery_agents.contracts.base import JsonValue
from celery_agents.contracts.conversation import ChatMessage, ToolUse
from celery_agents.values import jsonable, mended

#: Characters that some provider does not take in the name of a tool, which a model may invent.
_ODD = re.compile(r"[^A-Za-z0-9_-]")
_NAME_MAX = 64


def said(exchanges: Iterable[Exchange]) -> tuple[ChatMessage, ...]:
    """The replies that called tools, each with the results behind it.

    What was no answer of the form that was asked for, and the complaint about it, are left out.
    """
    return tuple(m for e in exchanges if e.results for m in _messages(e))


def _messages(exchange: Exchange) -> Iterable[ChatMessage]:
    calls = tuple(_use(n, result.call) for n, result in enumerate(exchange.results))
    text = exchange.reply.text
    yield ChatMessage(role="assistant", content=text if text.strip() else "", tool_calls=calls)
    for call, result in zip(calls, exchange.results, strict=True):
        yield ChatMessage(role="tool", call_id=call.id, content=mended(text_of(result.value)))


def _use(number: int, call: ToolCall) -> ToolUse:
    """The call under a number: providers' own ids may be empty, or twice in a reply."""
    return ToolUse(id=str(number), name=name_of(call), arguments=_arguments(call))


def name_of(call: ToolCall) -> str:
    """The name of a call as any provider takes it."""
    return _ODD.sub("_", call.name)[:_NAME_MAX] or "_"


def _arguments(call: ToolCall) -> JsonValue:
    """The arguments as an object, which all providers want; a model may have written anything."""
    told: JsonValue = jsonable(call.arguments)
    if isinstance(told, dict):
        return told
    return {} if told is None else {"arguments": told}
