"""Requests of OpenAI's Agents SDK as they are told apart, and what tools give as rows have it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from agents.frameworks.openai_agents_items import (
    asks_server,
    call_name,
    history_of,
    kept_items,
    kept_output,
    request_told,
    tokens_of,
    tool_fingerprint,
    turns_of,
)
from agents.models.provider import Tokens
from agents.values import digest


@dataclass
class Settings:
    temperature: float | None = None
    metadata: dict[str, str] | None = None
    extra_args: Any = None
    retry: Any = None
    timeout: float | None = None


@dataclass
class Tool:
    name: str
    description: str = ""
    params_json_schema: dict[str, Any] = field(default_factory=dict)
    strict_json_schema: bool = True
    on_invoke_tool: Any = None


@dataclass
class Hosted:
    index: str

    name = "file_search"


@dataclass
class Handing:
    tool_name: str
    tool_description: str = ""
    input_json_schema: dict[str, Any] = field(default_factory=dict)
    strict_json_schema: bool = True


@dataclass
class Form:
    schema: dict[str, Any]

    def is_plain_text(self) -> bool:
        return not self.schema

    def name(self) -> str:
        return "answer"

    def json_schema(self) -> dict[str, Any]:
        return self.schema

    def is_strict_json_schema(self) -> bool:
        return True


def asked(**about: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "system_instructions": None,
        "input": "x",
        "model_settings": Settings(),
        "tools": [],
        "output_schema": None,
        "handoffs": [],
        "prompt": None,
    }
    return plain | about


def fingerprint(model: str = "m", **about: Any) -> str:
    return digest(request_told(model, asked(**about)))


DIFFERENT: list[Any] = [
    {},
    {"model": "n"},
    {"system_instructions": "Be brief."},
    {"input": "y"},
    {"input": [{"role": "user", "content": "x"}]},
    {"input": [{"role": "user", "content": "x", "id": "1"}]},
    {"model_settings": Settings(temperature=0.5)},
    {"model_settings": Settings(metadata={"a": "b"})},
    {"model_settings": Settings(extra_args={"seed": 1})},
    {"model_settings": Settings(extra_args={"seed": "1"})},
    {"tools": [Tool("t")]},
    {"tools": [Tool("t", "does")]},
    {"tools": [Tool("t", "", {"type": "object"})]},
    {"tools": [Tool("t", strict_json_schema=False)]},
    {"tools": [Hosted("a")]},
    {"tools": [Hosted("b")]},
    {"output_schema": Form({"type": "object"})},
    {"output_schema": Form({"type": "string"})},
    {"handoffs": [Handing("t")]},
    {"handoffs": [Handing("t", "goes on")]},
    {"prompt": {"id": "p"}},
]


def test_two_different_requests_share_no_key() -> None:
    assert len({fingerprint(**about) for about in DIFFERENT}) == len(DIFFERENT)


def test_what_is_no_part_of_a_request_does_not_tell_them_apart() -> None:
    assert fingerprint(tools=[Tool("t", on_invoke_tool=print)]) == fingerprint(
        tools=[Tool("t", on_invoke_tool=lambda: None)]
    )
    slow = Settings(retry=object(), timeout=5.0)
    assert fingerprint(model_settings=slow) == fingerprint(output_schema=Form({})) == fingerprint()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(JSON, JSON)
def test_inputs_are_told_apart_as_their_json_is(one: Any, other: Any) -> None:
    alike = digest(one) == digest(other)
    assert (fingerprint(input=[one]) == fingerprint(input=[other])) is alike


@given(JSON)
def test_what_a_tool_gives_is_sent_as_its_text(value: Any) -> None:
    assert str(kept_output(value)) == str(value)


class Text(BaseModel):
    type: Literal["text"] = "text"
    text: str


class Point(BaseModel):
    x: int


@pytest.mark.parametrize(
    ("output", "kept"),
    [
        ((1, 2), "(1, 2)"),
        ({1: "a"}, "{1: 'a'}"),
        (float("inf"), "inf"),
        (Point(x=1), "x=1"),
        ([Point(x=1)], "[Point(x=1)]"),
        (Text(text="a"), {"type": "text", "text": "a"}),
        ([Text(text="a")], [{"type": "text", "text": "a"}]),
    ],
)
def test_outputs(output: Any, kept: Any) -> None:
    assert kept_output(output) == kept


class Item(BaseModel):
    type: str = "message"
    text: str | None = None
    status: str | None = None


def test_what_a_model_left_out_stays_left_out() -> None:
    assert kept_items([Item(text="a"), {"b": 1}]) == [{"text": "a"}, {"b": 1}]


def test_calls_of_tools_are_told_apart() -> None:
    calls = [("t", "{}", "c"), ("u", "{}", "c"), ("t", "{ }", "c"), ("t", "{}", "d")]
    assert len({tool_fingerprint(*call) for call in calls}) == len(calls)
    assert call_name("tool", "a\nb" + "x" * 300) == ("tool:a?b" + "x" * 300)[:180]


def test_tokens() -> None:
    @dataclass
    class Details:
        cached_tokens: int = 40

    @dataclass
    class Used:
        input_tokens: int = 100
        output_tokens: int = 20
        input_tokens_details: Any = field(default_factory=Details)

    assert tokens_of(Used()) == Tokens(100, 20, cache_read=40)
    assert tokens_of(Used(0, 0)) is None


@pytest.mark.parametrize(
    "name", ["previous_response_id", "conversation_id", "auto_previous_response_id"]
)
def test_servers_that_keep_the_conversation(name: str) -> None:
    assert asks_server({name: "x"}) == name
    assert asks_server({name: None}) is None


def test_turns_are_calls_with_their_results() -> None:
    def call(number: int) -> dict[str, Any]:
        about = {"call_id": f"c{number}", "name": "dig", "arguments": f'{{"at": {number}}}'}
        return {"type": "function_call", **about}

    def result(number: int, output: Any) -> dict[str, Any]:
        return {"type": "function_call_output", "call_id": f"c{number}", "output": output}

    items = [
        {"role": "assistant", "content": "I dig."},
        call(1),
        call(2),
        result(2, "two"),
        result(1, [{"type": "input_text", "text": "one"}]),
        call(3),
        result(3, [{"type": "input_image", "image_url": "u"}]),
        call(4),  # whose result nobody has
    ]
    turns = turns_of(items)
    assert [(m.role, m.text) for m in turns] == [
        ("assistant", ""),
        ("tool", "one"),
        ("tool", "two"),
        ("assistant", ""),
        ("tool", '[{"type": "input_image", "image_url": "u"}]'),
    ]
    # And back again, as the SDK has it.
    (asked, *_), first = history_of(turns), turns[0].tool_calls[0]
    assert asked == {
        "type": "function_call",
        "call_id": first.id,
        "name": "dig",
        "arguments": '{"at": 1}',
    }
