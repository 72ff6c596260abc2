"""Conversations that the providers' servers refuse, as their APIs do: with an AssertionError."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

#: Names of functions, in requests too that have none of them among their tools.
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_ANTHROPIC_ID = re.compile(r"[A-Za-z0-9_-]+")


def refuse(provider: str, body: Any) -> None:
    """Look at the body of a request.

    Raises:
        AssertionError: the provider would not take it.
    """
    _REFUSALS[provider](body)


def _openai(body: Any) -> None:
    asked = body.get("response_format", {}).get("json_schema")
    if asked:
        assert asked["schema"].get("type") == "object", "a schema is that of an object"
        for one in _objects(asked["schema"] if asked["strict"] else None):
            assert one.get("additionalProperties") is False, "objects are closed"
            assert set(one["required"]) == set(one["properties"]), "all fields are required"
    open_calls: set[str] = set()
    for message in body["messages"]:
        if message["role"] == "tool":
            assert message["tool_call_id"] in open_calls, "a result without its call"
            open_calls.remove(message["tool_call_id"])
            continue
        assert not open_calls, "each call is followed by its result"
        if message["role"] == "assistant":
            assert message.get("content") or message.get("tool_calls"), "it says nothing"
        for call in message.get("tool_calls") or ():
            assert call["type"] == "function"
            assert _NAME.fullmatch(call["function"]["name"]), "no name of a function"
            # Any text: models write broken JSON, and are told of it with what they wrote.
            assert isinstance(call["function"]["arguments"], str), "arguments are a text"
            assert call["id"] not in open_calls, "two calls of one id"
            open_calls.add(call["id"])
    assert not open_calls, "each call is followed by its result"


def _objects(schema: Any) -> Iterator[Any]:
    """The objects of a schema; one that allows nothing is none."""
    if isinstance(schema, list):
        for part in schema:
            yield from _objects(part)
    elif isinstance(schema, dict):
        if schema.get("type") == "object":
            assert schema.get("properties"), "an object has fields"
            yield schema
        for part in schema.values():
            yield from _objects(part)


def _anthropic(body: Any) -> None:
    for one in _objects(body.get("output_config", {}).get("format", {}).get("schema")):
        assert one.get("additionalProperties") is False, "objects are closed"
    open_calls: set[str] = set()
    known: set[str] = set()
    assert body["messages"], "there is none"
    assert body["messages"][0]["role"] == "user"
    for message in body["messages"]:
        assert message["role"] in {"user", "assistant"}
        content = message["content"]
        blocks = content if isinstance(content, list) else [{"type": "text", "text": content}]
        texts = [b["text"] for b in blocks if b["type"] == "text"]
        assert message["role"] == "user" or all(t.strip() for t in texts), "no empty text"
        results = [b["tool_use_id"] for b in blocks if b["type"] == "tool_result"]
        assert sorted(results) == sorted(open_calls), "all results are in the next message"
        uses = [b for b in blocks if b["type"] == "tool_use"]
        assert not (uses and message["role"] == "user")
        for use in uses:
            assert _NAME.fullmatch(use["name"]), "no name of a tool"
            assert _ANTHROPIC_ID.fullmatch(use["id"]), "no id"
            assert use["id"] not in known, "ids are unique"
            assert isinstance(use["input"], dict), "the input is an object"
            known.add(use["id"])
        open_calls = {use["id"] for use in uses}
    assert not open_calls, "all results are in the next message"


def _google(body: Any) -> None:
    names: list[str] = []
    for content in body["contents"]:
        assert content["role"] in {"user", "model"}
        assert content["parts"]
        responses = [p["functionResponse"] for p in content["parts"] if "functionResponse" in p]
        assert sorted(r["name"] for r in responses) == sorted(names), "a response for each call"
        calls = [p["functionCall"] for p in content["parts"] if "functionCall" in p]
        assert all(isinstance(c.get("args", {}), dict) for c in calls), "the arguments are a Struct"
        names = [c["name"] for c in calls]
    assert not names, "a response for each call"


_REFUSALS: dict[str, Callable[[Any], None]] = {
    "openai": _openai,
    "anthropic": _anthropic,
    "google": _google,
}
