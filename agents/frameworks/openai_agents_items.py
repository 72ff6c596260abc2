"""Values of OpenAI's Agents SDK as fingerprints and rows have them, and conversations in its form.

Nothing here imports the SDK.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from agents.conversing import uniform
from agents.models.provider import Tokens
from agents.models.reading.shapes import listed, mapping
from agents.models.said import newest
from agents.values import digest, text_of
from celery_agents.contracts.base import JsonValue
from celery_agents.contracts.conversation import ChatMessage, ToolUse

#: Fields of tools that models are told of: no functions, and nothing that guards a call.
_OF_TOOLS = (
    "name",
    "description",
    "params_json_schema",
    "strict_json_schema",
    "output_json_schema",
    "defer_loading",
    "allowed_callers",
)
_OF_HANDOFFS = ("tool_name", "tool_description", "input_json_schema", "strict_json_schema")
#: How often and how patiently a request is sent is no part of what it asks.
_OF_SENDING = frozenset({"retry", "timeout", "preserve_raw_usage"})
#: Types of what tools give that the SDK sends as it is; all else is sent as its text.
_STRUCTURED = frozenset({"text", "image", "file"})
_NAME_MAX = 180


def told(value: Any) -> JsonValue:
    """A JSON value of all that one holds: of two that differ, another one."""
    if isinstance(value, BaseModel):
        value = value.model_dump(exclude_unset=True)
    elif is_dataclass(value) and not isinstance(value, type):
        value = {f.name: getattr(value, f.name) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): told(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [told(one) for one in value]
    if isinstance(value, set | frozenset):
        return sorted((told(one) for one in value), key=text_of)
    plain: JsonValue = to_jsonable_python(value, bytes_mode="base64", fallback=_kind)
    return plain


def _kind(value: Any) -> str:
    """The name of a function, else of what it is: neither is ever sent."""
    return str(getattr(value, "__qualname__", type(value).__qualname__))


def request_told(model: str, asked: Mapping[str, Any]) -> dict[str, JsonValue]:
    """All that a request to a model says, by the names of ``Model.get_response``."""
    settings = mapping(told(asked["model_settings"]))
    schema = asked["output_schema"]
    form: JsonValue = None
    if schema is not None and not schema.is_plain_text():
        form = [schema.name(), schema.json_schema(), schema.is_strict_json_schema()]
    return {
        "model": model,
        "instructions": asked["system_instructions"],
        "input": told(asked["input"]),
        "settings": {k: v for k, v in settings.items() if v is not None and k not in _OF_SENDING},
        "tools": [_tool(tool) for tool in asked["tools"]],
        "form": form,
        "handoffs": [_fields(one, _OF_HANDOFFS) for one in asked["handoffs"]],
        "prompt": told(asked.get("prompt")),
    }


def _tool(tool: Any) -> JsonValue:
    """A tool as a model is told of it; hosted ones are what they are set to."""
    if hasattr(tool, "on_invoke_tool"):
        namespace = getattr(tool, "_tool_namespace", None)
        return {**_fields(tool, _OF_TOOLS), "namespace": namespace}
    return [type(tool).__qualname__, getattr(tool, "name", None), told(tool)]


def _fields(one: Any, names: Iterable[str]) -> dict[str, JsonValue]:
    return {name: told(getattr(one, name, None)) for name in names}


def tool_fingerprint(name: str, arguments: str, call_id: str) -> str:
    """The digest of a call of a tool: models give each an id, which is the same when replayed."""
    return digest([name, arguments, call_id])


def call_name(kind: str, name: str) -> str:
    """The name of a journaled call."""
    return "".join(c if c.isprintable() else "?" for c in f"{kind}:{name}")[:_NAME_MAX]


def kept_output(output: Any) -> JsonValue:
    """The result of a tool, as the SDK sends it to the model.

    That is its text, unless it has a structure that the SDK knows. What is JSON stays what it is,
    since its text is the same.
    """
    if isinstance(output, BaseModel) and getattr(output, "type", None) in _STRUCTURED:
        return output.model_dump(mode="json", exclude_none=True)
    if isinstance(output, list) and output and all(isinstance(one, BaseModel) for one in output):
        parts = [kept_output(one) for one in output]
        return parts if all(isinstance(part, dict) for part in parts) else str(output)
    try:
        plain: JsonValue = json.loads(json.dumps(output, allow_nan=False))
    except (TypeError, ValueError, RecursionError):
        return str(output)
    return plain if plain == output and str(plain) == str(output) else str(output)


def kept_items(items: Iterable[Any]) -> list[JsonValue]:
    """The answer of a model as it gave it: what it left out is sent back as left out."""
    return [_kept_item(item) for item in items]


def _kept_item(item: Any) -> JsonValue:
    if isinstance(item, BaseModel):
        return item.model_dump(mode="json", exclude_unset=True)
    plain: JsonValue = to_jsonable_python(item)
    return plain


def tokens_of(usage: Any) -> Tokens | None:
    """The tokens that a usage of the SDK tells; None: none."""
    read = getattr(getattr(usage, "input_tokens_details", None), "cached_tokens", 0) or 0
    counts = (usage.input_tokens or 0, usage.output_tokens or 0)
    return Tokens(*counts, cache_read=read) if any(counts) else None


def history_of(messages: Iterable[ChatMessage]) -> list[dict[str, Any]]:
    """A conversation as the SDK has it."""
    return [item for message in messages for item in _items(message)]


def _items(message: ChatMessage) -> Iterator[dict[str, Any]]:
    if message.role == "tool":
        about = {"call_id": message.call_id, "output": message.text}
        yield {"type": "function_call_output", **about}
        return
    if message.text:
        yield {"role": message.role, "content": message.text}
    for call in message.tool_calls:
        arguments = json.dumps(call.arguments or {})
        about = {"call_id": call.id, "name": call.name, "arguments": arguments}
        yield {"type": "function_call", **about}


def turns_of(items: Iterable[Any]) -> tuple[ChatMessage, ...]:
    """The calls on the way to an answer, and what came of them, in the order of the calls."""
    said: list[ChatMessage] = []
    calls: dict[str, ToolUse] = {}
    results: dict[str, ChatMessage] = {}
    for item in map(mapping, items):
        kind, call_id = item.get("type"), str(item.get("call_id") or "")
        if kind == "function_call" and call_id:
            if results and calls.keys() == results.keys():  # those before are over
                said += _turn(calls, results)
                calls, results = {}, {}
            arguments = _arguments(str(item.get("arguments") or ""))
            calls[call_id] = ToolUse(id=call_id, name=str(item["name"]), arguments=arguments)
        elif kind == "function_call_output" and call_id in calls:
            output = text_of(_output(item.get("output")))
            results[call_id] = ChatMessage(role="tool", content=output, call_id=call_id)
    if results and calls.keys() == results.keys():
        said += _turn(calls, results)
    return newest(tuple(uniform(said)))


def _turn(calls: Mapping[str, ToolUse], results: Mapping[str, ChatMessage]) -> list[ChatMessage]:
    asked = ChatMessage(role="assistant", tool_calls=tuple(calls.values()))
    return [asked, *(results[call_id] for call_id in calls)]


def _arguments(text: str) -> JsonValue:
    try:
        found: JsonValue = json.loads(text or "{}")
    except ValueError:
        return text
    return found


def _output(output: Any) -> Any:
    """A result as text, where it is made of texts alone."""
    parts = [mapping(part) for part in listed(output)]
    texts = [part.get("text") for part in parts]
    return "\n".join(map(str, texts)) if parts and all(texts) else told(output)


def asks_server(about: Mapping[str, Any]) -> str | None:
    """The option that has a server keep the conversation, if one does."""
    names = ("previous_response_id", "conversation_id", "auto_previous_response_id")
    return next((name for name in names if about.get(name)), None)
