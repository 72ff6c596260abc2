"""Conversations in the form that every provider takes, whoever wrote them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import count

from celery_agents.contracts.base import JsonValue
from celery_agents.contracts.conversation import ChatMessage, ToolUse
from celery_agents.values import jsonable

#: Characters that some provider does not take in the name of a tool, which a model may invent.
_ODD = re.compile(r"[^A-Za-z0-9_-]")
_NAME_MAX = 64


def uniform(messages: Iterable[ChatMessage], prefix: str = "said_") -> Iterator[ChatMessage]:
    """Give messages whose calls have ids of ours, names that any provider takes, and objects.

    Providers want ids to be different in all of a conversation, of few letters; their own are of
    other letters each, begin anew in each answer, or are empty.
    """
    ids: dict[str, str] = {}
    made = count()
    for message in messages:
        if message.role == "tool":
            yield message.model_copy(update={"call_id": ids[message.call_id or ""]})
        elif message.tool_calls:
            ids = {call.id: f"{prefix}{next(made)}" for call in message.tool_calls}
            calls = tuple(_uniform(call, ids[call.id]) for call in message.tool_calls)
            yield message.model_copy(update={"tool_calls": calls})
        else:
            yield message


def _uniform(call: ToolUse, call_id: str) -> ToolUse:
    told = {"id": call_id, "name": name_of(call.name), "arguments": arguments_of(call.arguments)}
    return call.model_copy(update=told)


def name_of(name: str) -> str:
    """Return the name of a call as any provider takes it."""
    return _ODD.sub("_", name)[:_NAME_MAX] or "_"


def arguments_of(arguments: JsonValue) -> dict[str, JsonValue]:
    """Return arguments as an object, which all providers want; a model may write anything."""
    told: JsonValue = jsonable(arguments)
    if isinstance(told, dict):
        return told
    return {} if told is None else {"arguments": told}
