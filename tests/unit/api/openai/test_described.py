"""The description of messages: what agents can be told is in it, and what is no message is not."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest

from api.openai.bodies import ChatBody, ResponseBody
from api.openai.conversing import of_chat, of_input
from api.openai.described import INPUT, MESSAGES

CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
CHATS: list[Any] = [
    [{"role": "user", "content": "Hello"}],
    [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "Hello"}],
    [{"role": "user", "content": [{"type": "text", "text": "Hello"}]}],
    [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://a.b/c"}}]}],
    [{"role": "assistant", "content": None, "tool_calls": [CALL]}],
    [{"role": "tool", "content": "4", "tool_call_id": "1"}],
]
WRONG: list[Any] = [
    [],
    ["Hello"],
    [{"role": "nobody", "content": "Hello"}],
    [{"role": "user"}],
    [{"role": "user", "content": 3}],
    [{"role": "user", "content": [{"type": "video", "url": "x"}]}],
    [{"role": "tool", "content": "4"}],
    [{"role": "assistant", "tool_calls": [{"id": "1"}]}],
]
ITEMS: list[Any] = [
    "Hello",
    [{"role": "user", "content": "Hello"}],
    [{"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"}],
    [{"type": "function_call_output", "call_id": "1", "output": "4"}],
    [{"type": "reasoning"}, {"role": "user", "content": "Hello"}],
]


@pytest.mark.parametrize("messages", CHATS)
def test_messages_that_are_told_are_described(messages: Any) -> None:
    jsonschema.validate(messages, MESSAGES)
    assert of_chat(ChatBody(model="a", messages=messages).messages)


@pytest.mark.parametrize("messages", WRONG)
def test_what_is_described_otherwise_is_no_conversation(messages: Any) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(messages, MESSAGES)


@pytest.mark.parametrize("items", ITEMS)
def test_items_that_are_told_are_described(items: Any) -> None:
    jsonschema.validate(items, INPUT)
    of_input(ResponseBody(model="a", input=items).input)


@pytest.mark.parametrize(("body", "field"), [(ChatBody, "messages"), (ResponseBody, "input")])
def test_the_page_of_the_api_has_them(body: Any, field: str) -> None:
    told = body.model_json_schema()["properties"][field]
    assert {**told, "title": ""} == {**(MESSAGES if field == "messages" else INPUT), "title": ""}
