"""Anthropic's protocol as it and servers that are compatible with it speak it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agents.models.provider import Tokens
from agents.models.reading.anthropic import AnthropicReading
from agents.net.faults import FailedError
from celery_agents.errors import BadAnswerError, ProviderRefusedError, ProviderUnavailableError

from .conftest import Read, sse, whole

USAGE = {"input_tokens": 10, "output_tokens": 5}
HELLO = {"type": "text", "text": "hello"}
OSLO = {"type": "tool_use", "id": "t", "name": "weather", "input": {"city": "Oslo"}}
WEATHER = ("weather", {"city": "Oslo"})


def message(content: Any, stop: Any = "end_turn", **more: Any) -> bytes:
    return whole({"type": "message", "content": content, "stop_reason": stop, **more})


def start(index: Any, block: Any) -> dict[str, Any]:
    at = {} if index is None else {"index": index}
    return {"type": "content_block_start", **at, "content_block": block}


def delta(index: Any, kind: str, text: str) -> dict[str, Any]:
    at = {} if index is None else {"index": index}
    name = {"text_delta": "text", "input_json_delta": "partial_json"}.get(kind, "thinking")
    return {"type": "content_block_delta", **at, "delta": {"type": kind, name: text}}


def end(stop: Any = "end_turn", **more: Any) -> dict[str, Any]:
    return {"type": "message_delta", "delta": {"stop_reason": stop}, **more}


BEGIN = {"type": "message_start", "message": {"content": [], "stop_reason": None}}
STOP = {"type": "message_stop"}


def stream(*events: Any, stop: str = "end_turn") -> bytes:
    return sse(BEGIN, *events, end(stop), STOP)


def answered(read: Read, content: bytes) -> Any:
    return read(AnthropicReading("it"), content)


TEXTS = {
    "whole": message([HELLO]),
    "a string as content": message("hello"),
    "one block that is not in a list": message(HELLO),
    "nulls in it": message([None, {**HELLO, "citations": None}]),
    "without a type": whole({"content": [{"text": "hello"}], "stop_reason": "end_turn"}),
    "no stop_reason": message([HELLO], None),
    "an empty block beside": message([{"type": "text", "text": ""}, HELLO]),
    "a block of another kind beside": message([{"type": "server_tool_use", "id": "s"}, HELLO]),
    "streamed": stream(
        start(0, {"type": "text", "text": ""}),
        delta(0, "text_delta", "hel"),
        {"type": "ping"},
        delta(0, "text_delta", "lo"),
        {"type": "content_block_stop", "index": 0},
    ),
    "text in the start": stream(
        start(0, {"type": "text", "text": "hel"}), delta(0, "text_delta", "lo")
    ),
    "no start of a block": stream(delta(0, "text_delta", "hel"), delta(0, "text_delta", "lo")),
    "no index": stream(
        start(None, {"type": "text"}),
        delta(None, "text_delta", "hel"),
        delta(None, "text_delta", "lo"),
    ),
    "no start of the message": sse(
        start(0, HELLO), {"type": "content_block_stop", "index": 0}, end(), STOP
    ),
    "no stop_reason, streamed": sse(BEGIN, start(0, HELLO), end(None), STOP),
    "no end but a stop_reason": sse(BEGIN, start(0, HELLO), end()),
    "events of a kind to come": stream({"type": "news", "a": 1}, start(0, HELLO)),
    "a delta of a kind to come": stream(start(0, HELLO), delta(0, "citations_delta", "x")),
    "the whole message as one event": sse({"type": "message", "content": [HELLO]}, STOP),
    "the kind in the event's name alone": b"".join(
        f"event: {event.pop('type')}\ndata: {json.dumps(event)}\n\n".encode()
        for event in (dict(BEGIN), start(0, HELLO), end(), dict(STOP))
    ),
    "thoughts before": stream(
        start(0, {"type": "thinking", "thinking": ""}),
        delta(0, "thinking_delta", "hm"),
        start(1, {"type": "text", "text": ""}),
        delta(1, "text_delta", "hello"),
    ),
    "delta null": stream(start(0, HELLO), {"type": "content_block_delta", "delta": None}),
    "an error after the end": sse(BEGIN, start(0, HELLO), end(), {"type": "error", "error": {}}),
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_that_is_plain(read: Read, name: str) -> None:
    reply = answered(read, TEXTS[name]).reply
    assert (reply.text, reply.stop, reply.tool_calls) == ("hello", "end", ())


def test_the_text_is_told_as_it_comes(read: Read) -> None:
    told: list[str] = []
    content = stream(start(0, {"type": "text", "text": "h"}), delta(0, "text_delta", "i"))
    read(AnthropicReading("it"), content, told=told)
    assert "|".join(told) == "|h|i||"


def tool(**more: Any) -> dict[str, Any]:
    return {key: value for key, value in {**OSLO, **more}.items() if value is not ...}


ARGUMENTS = (
    delta(0, "input_json_delta", '{"city"'),
    delta(0, "input_json_delta", ': "Oslo"}'),
)
CALLS = {
    "whole": message([OSLO], "tool_use"),
    "end_turn": message([OSLO]),
    "input as text": message([tool(input='{"city": "Oslo"}')]),
    "no id": message([tool(id=...)]),
    "id null": message([tool(id=None)]),
    "no type": message([tool(type=...)]),
    "streamed": stream(start(0, tool(input={})), *ARGUMENTS),
    "input null at first": stream(start(0, tool(input=None)), *ARGUMENTS),
    "no input at first": stream(start(0, tool(input=...)), *ARGUMENTS),
    "the whole input at the start": stream(start(0, OSLO), {"type": "content_block_stop"}),
    "an empty piece after the whole input": stream(
        start(0, OSLO), delta(0, "input_json_delta", "")
    ),
    "no index": stream(
        start(None, tool(input={})), delta(None, "input_json_delta", '{"city": "Oslo"}')
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_call_that_is_plain(read: Read, name: str) -> None:
    (call,) = (reply := answered(read, CALLS[name]).reply).tool_calls
    assert (call.name, call.arguments) == WEATHER
    assert call.id
    (sent,) = reply.native
    assert sent == {**OSLO, "id": call.id}


@pytest.mark.parametrize("given", [..., None, "", "{}", {}, [], "null"])
def test_a_call_without_arguments(read: Read, given: Any) -> None:
    (call,) = (reply := answered(read, message([tool(input=given)])).reply).tool_calls
    assert call.arguments == {}
    assert reply.native[0]["input"] == {}


def test_calls_that_share_an_index_or_an_id_are_two(read: Read) -> None:
    clock = {"type": "tool_use", "id": "t", "name": "clock", "input": {}}
    content = stream(
        start(0, tool(input={})), *ARGUMENTS, start(0, clock), delta(0, "input_json_delta", "{}")
    )
    reply = answered(read, content).reply
    assert [(c.name, c.arguments) for c in reply.tool_calls] == [WEATHER, ("clock", {})]
    assert len({c.id for c in reply.tool_calls}) == 2
    assert [block["id"] for block in reply.native] == [c.id for c in reply.tool_calls]


def test_input_that_cannot_be_read_is_left_to_the_tool(read: Read) -> None:
    reply = answered(read, message([tool(input='{"city": ')])).reply
    assert reply.tool_calls[0].arguments == '{"city": '
    assert isinstance(reply.native[0]["input"], dict)  # the API takes nothing else


def test_a_call_that_names_no_tool_is_none(read: Read) -> None:
    with pytest.raises(BadAnswerError, match="without naming it"):
        answered(read, message([tool(name=None)]))


def test_thoughts_go_back_as_they_were(read: Read) -> None:
    thoughts = {"type": "thinking", "thinking": "hm", "signature": "s"}
    content = stream(
        start(0, {"type": "thinking", "thinking": ""}),
        delta(0, "thinking_delta", "hm"),
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "signature_delta", "signature": "s"},
        },
        start(1, OSLO),
    )
    assert answered(read, content).reply.native == [thoughts, OSLO]
    assert answered(read, message([thoughts, OSLO])).reply.native == [thoughts, OSLO]


@pytest.mark.parametrize("stop", ["max_tokens", "model_context_window_exceeded"])
def test_a_cut_answer(read: Read, stop: str) -> None:
    assert answered(read, message([HELLO], stop)).reply.stop == "length"
    assert answered(read, stream(start(0, HELLO), stop=stop)).reply.stop == "length"


START = {"type": "message_start", "message": {"usage": {"input_tokens": 10, "output_tokens": 1}}}
TOLD = {
    "whole": message([HELLO], usage=USAGE),
    "in two places": sse(START, start(0, HELLO), end(usage={"output_tokens": 5}), STOP),
    "at the end alone": sse(BEGIN, start(0, HELLO), end(usage=USAGE), STOP),
    "nothing at the end counts as nothing new": sse(
        START, start(0, HELLO), end(usage={"input_tokens": 0, "output_tokens": 5}), STOP
    ),
    "nulls": sse(
        START, start(0, HELLO), end(usage={"input_tokens": None, "output_tokens": 5}), STOP
    ),
    "in the delta": sse(
        BEGIN,
        start(0, HELLO),
        {"type": "message_delta", "delta": {"stop_reason": "end_turn", "usage": USAGE}},
        STOP,
    ),
    "caches null": message(
        [HELLO], usage={**USAGE, "cache_read_input_tokens": None, "cache_creation": {"x": 1}}
    ),
}


@pytest.mark.parametrize("name", TOLD)
def test_tokens_wherever_they_are_told(read: Read, name: str) -> None:
    assert answered(read, TOLD[name]).tokens == Tokens(10, 5)


def test_cached_tokens_are_counted_apart(read: Read) -> None:
    cached = {"cache_read_input_tokens": 3, "cache_creation_input_tokens": 4}
    found = answered(read, message([HELLO], usage={**USAGE, **cached}))
    assert found.tokens == Tokens(17, 5, 3, 4)


@pytest.mark.parametrize("usage", [None, {}, [], "x", {"input_tokens": None}, {"output_tokens": 5}])
def test_tokens_that_are_not_told_are_not_known(read: Read, usage: Any) -> None:
    assert answered(read, message([HELLO], usage=usage)).tokens is None
    streamed = sse({"type": "message_start", "message": {"usage": usage}}, start(0, HELLO), end())
    assert answered(read, streamed).tokens is None


@pytest.mark.parametrize(
    "content",
    [
        whole({"type": "error", "error": {"type": "overloaded_error", "message": "m"}}),
        whole({"error": {"message": "m"}}),
        whole({"type": "error", "message": "m"}),
        sse(BEGIN, start(0, HELLO), {"type": "error", "error": {"type": "api_error"}}),
        b'event: error\ndata: {"message": "m"}\n\n',
    ],
)
def test_an_error_inside_a_successful_answer(read: Read, content: bytes) -> None:
    with pytest.raises(FailedError):
        answered(read, content)


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (message([HELLO], "refusal"), ProviderRefusedError),
        (message([], "refusal"), ProviderRefusedError),
        (sse(BEGIN, start(0, HELLO)), ProviderUnavailableError),  # it broke off
        (whole({}), BadAnswerError),
        (whole([]), BadAnswerError),
        (whole({"type": "message"}), BadAnswerError),
        (sse({"type": "ping"}), BadAnswerError),
        (b"", BadAnswerError),
    ],
)
def test_what_is_no_answer(read: Read, content: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        answered(read, content)
