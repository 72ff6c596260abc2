"""OpenAI's protocol as servers that are compatible with it speak it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agents.models.provider import Tokens
from agents.models.reading.openai import OpenAIReading
from agents.net.faults import FailedError
from celery_agents.errors import BadAnswerError, ProviderRefusedError, ProviderUnavailableError

from .conftest import Read, sse, whole

TOOLS = ("weather", "clock", "get_weather")
OSLO = '{"city": "Oslo"}'
WEATHER = ("weather", {"city": "Oslo"})
CLOCK: tuple[str, dict[str, Any]] = ("clock", {})
USAGE = {"prompt_tokens": 10, "completion_tokens": 5}


def message(told: Any, finish: Any = "stop", **more: Any) -> bytes:
    return whole({"choices": [{"index": 0, "message": told, "finish_reason": finish}], **more})


def chunk(delta: Any = ..., finish: Any = None, **more: Any) -> dict[str, Any]:
    told = {} if delta is ... else {"delta": delta}
    return {"choices": [{"index": 0, "finish_reason": finish, **told}], **more}


def said(text: Any) -> dict[str, Any]:
    return chunk({"content": text})


def piece(arguments: Any = ..., **more: Any) -> dict[str, Any]:
    """A chunk of one tool call; ``name`` goes into its function."""
    function = {"arguments": arguments} if arguments is not ... else {}
    if "name" in more:
        function["name"] = more.pop("name")
    return chunk({"tool_calls": [{**more, "function": function}]})


def calling(*calls: Any, finish: str = "tool_calls", **more: Any) -> bytes:
    return message({"content": None, "tool_calls": list(calls), **more}, finish)


def stream(*chunks: Any, finish: str | None = "stop") -> bytes:
    return sse(*chunks, chunk({}, finish)) if finish else sse(*chunks)


def answered(read: Read, content: bytes) -> Any:
    return read(OpenAIReading("it", TOOLS), content)


TEXTS = {
    "whole": message({"role": "assistant", "content": "hello"}),
    "streamed": stream(said("hel"), said("lo")),
    "whole where a stream was asked, a finish_reason missing": message({"content": "hello"}, None),
    "content as parts": message({"content": [{"type": "text", "text": "hel"}, {"text": "lo"}]}),
    "parts, streamed": stream(said([{"type": "text", "text": "hel"}]), said([{"text": "lo"}])),
    "parts with thoughts": message(
        {
            "content": [
                {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
                {"type": "output_text", "text": "hello"},
            ]
        }
    ),
    "parts with values": message({"content": [{"type": "text", "text": {"value": "hello"}}]}),
    "parts as plain strings, and null": message({"content": ["hel", None, "lo"]}),
    "reasoning beside": message({"content": "hello", "reasoning_content": "hm", "refusal": None}),
    "one choice that is not in a list": whole({"choices": {"message": {"content": "hello"}}}),
    "a null among the choices": whole({"choices": [None, {"message": {"content": "hello"}}]}),
    "no delta at the end": sse(said("hello"), chunk({}, "stop"), chunk(content_filter={})),
    "no delta but a finish": sse(said("hello"), chunk(..., "stop")),
    "delta null": stream(said("hel"), chunk(None), said("lo")),
    "delta a string": stream(said("hello"), chunk("!")),
    "content null": stream(said("hello"), chunk({"content": None})),
    "no choices at first": stream({"choices": []}, {"prompt_filter_results": []}, said("hello")),
    "choices null": stream({"choices": None}, said("hello")),
    "no finish but [DONE]": sse(said("hello"), done=True),
    "finish_reason empty until the end": sse(chunk({"content": "hello"}, ""), chunk({}, "stop")),
    "the whole message once more at the end": stream(
        said("hello"), {"choices": [{"message": {"content": "hello"}, "finish_reason": "stop"}]}
    ),
    "messages instead of deltas": sse(
        {"choices": [{"message": {"content": "hello"}, "finish_reason": "stop"}]}
    ),
    "text as of old": whole({"choices": [{"text": "hello", "finish_reason": "stop"}]}),
    "an error after the end": sse(said("hello"), chunk({}, "stop"), {"error": {"code": 500}}),
    "error null": message({"content": "hello"}, error=None),
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_that_is_plain(read: Read, name: str) -> None:
    found = answered(read, TEXTS[name])
    assert (found.reply.text, found.reply.stop) == ("hello", "end")
    assert found.reply.native == {"role": "assistant", "content": "hello"}


def test_a_json_object_as_content_is_its_text(read: Read) -> None:
    found = answered(read, message({"content": {"option": "yes"}}))
    assert json.loads(found.reply.text) == {"option": "yes"}


def test_the_text_is_told_as_it_comes(read: Read) -> None:
    told: list[str] = []
    read(OpenAIReading("it", TOOLS), stream(said("hel"), chunk(None), said("lo")), told=told)
    assert "|".join(told) == "hel||lo|"


F = {"name": "weather", "arguments": OSLO}
ONE_CALL = {
    "whole": calling({"id": "c", "type": "function", "function": F}),
    "finish stop": calling({"id": "c", "type": "function", "function": F}, finish="stop"),
    "no type": calling({"id": "c", "function": F}),
    "type null": calling({"id": "c", "type": None, "function": F}),
    "type of its own": calling({"id": "c", "type": "tool", "function": F}),
    "no id": calling({"type": "function", "function": F}),
    "id a number": calling({"id": 7, "function": F}),
    "no function around it": calling({"id": "c", **F}),
    "one that is not in a list": message({"tool_calls": {"id": "c", "function": F}}),
    "an object as arguments": calling({"function": {**F, "arguments": {"city": "Oslo"}}}),
    "arguments as text of text": calling({"function": {**F, "arguments": json.dumps(OSLO)}}),
    "a function call of old": message({"content": None, "function_call": F}, "function_call"),
    "content beside": calling({"id": "c", "function": F}, content="Let me look."),
    "the same one twice": calling({"id": "c", "function": F}, {"id": "c", "function": F}),
    "an empty one beside": calling({"id": "c", "function": F}, {"id": "d"}, None),
    "streamed": stream(
        piece("", index=0, id="c", name="weather"),
        piece(OSLO[:5], index=0),
        piece(OSLO[5:], index=0),
    ),
    "name in each chunk": stream(
        piece(OSLO[:5], index=0, id="c", name="weather"),
        piece(OSLO[5:], index=0, name="weather"),
    ),
    "name and id in each chunk, no index": stream(
        piece(OSLO[:5], id="c", name="weather"), piece(OSLO[5:], id="c", name="weather")
    ),
    "a new id in each chunk": stream(
        piece("", index=0, id="c", name="weather"), piece(OSLO, index=0, id="d")
    ),
    "name and id empty later": stream(
        piece("", index=0, id="c", name="weather"), piece(OSLO, index=0, id="", name="")
    ),
    "a name in pieces": stream(
        piece(index=0, id="c", name="get_"), piece(index=0, name="weather"), piece(OSLO, index=0)
    ),
    "an id that comes late": stream(
        piece("", index=0, name="weather"), piece(OSLO, index=0, id="c")
    ),
    "index gone later": stream(piece("", index=0, id="c", name="weather"), piece(OSLO)),
    "function null later": stream(
        piece(OSLO, index=0, id="c", name="weather"),
        chunk({"tool_calls": [{"index": 0, "function": None}]}),
        chunk({"tool_calls": None}),
        chunk({"tool_calls": [None]}),
    ),
    "an object, streamed": stream(piece({"city": "Oslo"}, index=0, id="c", name="weather")),
    "a placeholder first": stream(
        piece("{}", index=0, id="c", name="weather"), piece(OSLO, index=0)
    ),
    "told once more at the end": stream(
        piece("", index=0, id="c", name="weather"),
        piece(OSLO, index=0),
        piece('{"city":"Oslo"}', index=0, id="c", name="weather"),
    ),
    "the whole message once more": sse(
        piece(OSLO, index=0, id="c", name="weather"),
        {"choices": [{"message": {"tool_calls": [{"function": F}]}, "finish_reason": "stop"}]},
    ),
    "an empty call at the end": stream(
        piece(OSLO, index=0, id="c", name="weather"), piece("", index=1), piece(index=2, name="")
    ),
    "a function call of old, streamed": sse(
        chunk({"function_call": {"name": "weather", "arguments": ""}}),
        chunk({"function_call": {"arguments": OSLO}}),
        chunk({}, "function_call"),
    ),
}


@pytest.mark.parametrize("name", ONE_CALL)
def test_a_call_that_is_plain(read: Read, name: str) -> None:
    (call,) = (reply := answered(read, ONE_CALL[name]).reply).tool_calls
    assert (call.name.removeprefix("get_"), call.arguments) == WEATHER
    assert call.id
    # It goes back in the protocol's own form.
    (sent,) = reply.native["tool_calls"]
    assert sent.keys() == {"id", "type", "function"}
    assert (sent["id"], sent["type"]) == (call.id, "function")
    assert sent["function"]["name"] == call.name
    assert isinstance(sent["function"]["arguments"], str)


@pytest.mark.parametrize("arguments", [..., None, "", "  ", "{}", {}, [], "[]", "null", '"{}"'])
def test_a_call_without_arguments(read: Read, arguments: Any) -> None:
    function = {"name": "clock"} | ({} if arguments is ... else {"arguments": arguments})
    reply = answered(read, calling({"id": "c", "function": function})).reply
    assert [(c.name, c.arguments) for c in reply.tool_calls] == [CLOCK]
    assert reply.native["tool_calls"][0]["function"]["arguments"].strip()


BOTH = [WEATHER, CLOCK]
TWO_CALLS = {
    "one index": (
        [piece(OSLO, index=0, id="a", name="weather"), piece("{}", index=0, id="b", name="clock")],
        BOTH,
    ),
    "no index": ([piece(OSLO, id="a", name="weather"), piece("{}", id="b", name="clock")], BOTH),
    "index null": (
        [piece(OSLO, index=None, id="a", name="weather"), piece(index=None, id="b", name="clock")],
        BOTH,
    ),
    "neither index nor id": ([piece(OSLO, name="weather"), piece("{}", name="clock")], BOTH),
    "one index, no id": (
        [piece(OSLO, index=0, name="weather"), piece("{}", index=0, name="clock")],
        BOTH,
    ),
    "the first without arguments": (
        [piece("", index=0, name="clock"), piece(OSLO, index=0, name="weather")],
        [CLOCK, WEATHER],
    ),
    "one id for both": (
        [piece(OSLO, index=0, id="a", name="weather"), piece("{}", index=1, id="a", name="clock")],
        BOTH,
    ),
    "one id and index": (
        [piece(OSLO, index=0, id="a", name="weather"), piece("{}", index=0, id="a", name="clock")],
        BOTH,
    ),
    "one tool, one index, no id": (
        [piece(OSLO, index=0, name="weather"), piece('{"city": "Rome"}', index=0, name="weather")],
        [WEATHER, ("weather", {"city": "Rome"})],
    ),
    "in one chunk": (
        [
            chunk(
                {
                    "tool_calls": [
                        {"function": {"name": "weather", "arguments": OSLO}},
                        {"function": {"name": "clock", "arguments": "{}"}},
                    ]
                }
            )
        ],
        BOTH,
    ),
    "woven": (
        [
            piece("", index=0, id="a", name="weather"),
            piece("", index=1, id="b", name="clock"),
            piece(OSLO[:4], index=0),
            piece("{", index=1),
            piece(OSLO[4:], index=0),
            piece("}", index=1),
        ],
        BOTH,
    ),
    "woven by id": (
        [
            piece("", id="a", name="weather"),
            piece("", id="b", name="clock"),
            piece(OSLO, id="a"),
            piece("{}", id="b"),
        ],
        BOTH,
    ),
    "indices from 1": (
        [piece(OSLO, index=1, id="a", name="weather"), piece(index=2, id="b", name="clock")],
        BOTH,
    ),
}


@pytest.mark.parametrize("name", TWO_CALLS)
def test_parallel_calls(read: Read, name: str) -> None:
    chunks, expected = TWO_CALLS[name]
    reply = answered(read, stream(*chunks, finish="tool_calls")).reply
    assert [(call.name, call.arguments) for call in reply.tool_calls] == expected
    ids = [call.id for call in reply.tool_calls]
    assert len({*ids}) == len([i for i in ids if i]) == 2
    assert [call["id"] for call in reply.native["tool_calls"]] == ids


@pytest.mark.parametrize("arguments", ["{broken", '{"city": ', "Oslo", '{"a": 1} {"b": 2}'])
def test_arguments_that_cannot_be_read_are_left_to_the_tool(read: Read, arguments: str) -> None:
    reply = answered(read, calling({"function": {"name": "weather", "arguments": arguments}})).reply
    assert [call.arguments for call in reply.tool_calls] == [arguments]


def test_a_call_that_names_no_tool_is_none(read: Read) -> None:
    with pytest.raises(BadAnswerError, match="without naming it"):
        answered(read, calling({"id": "c", "function": {"arguments": OSLO}}))


@pytest.mark.parametrize("finish", ["length", "LENGTH", "max_tokens", "model_length"])
@pytest.mark.parametrize("streamed", [False, True])
def test_a_cut_answer(read: Read, finish: str, streamed: bool) -> None:
    content = (
        stream(said("hel"), finish=finish) if streamed else message({"content": "hel"}, finish)
    )
    assert answered(read, content).reply.stop == "length"


TOLD = {
    "itself": message({"content": "x"}, usage=USAGE),
    "streamed at the end": sse(said("x"), chunk({}, "stop"), {"choices": [], "usage": USAGE}),
    "without choices": sse(said("x"), chunk({}, "stop"), {"usage": USAGE}),
    "in the last chunk": sse(said("x"), chunk({}, "stop", usage=USAGE)),
    "null before and after": sse(
        chunk({"content": "x"}, usage=None), chunk({}, "stop", usage=USAGE), {"usage": None}
    ),
    "growing": sse(
        chunk({"content": "x"}, usage={"prompt_tokens": 10, "completion_tokens": 1}),
        chunk({}, "stop", usage=USAGE),
    ),
    "in the choice": sse(
        {"choices": [{"delta": {"content": "x"}, "finish_reason": "stop", "usage": USAGE}]}
    ),
    "apart": sse(said("x"), chunk({}, "stop", x_groq={"usage": USAGE})),
    "by other names": message({"content": "x"}, usage={"input_tokens": 10, "output_tokens": 5}),
    "as a total": message({"content": "x"}, usage={"prompt_tokens": 10, "total_tokens": 15}),
    "details null": message({"content": "x"}, usage={**USAGE, "prompt_tokens_details": None}),
    "details a list": message({"content": "x"}, usage={**USAGE, "prompt_tokens_details": []}),
    "floats": message({"content": "x"}, usage={"prompt_tokens": 10.0, "completion_tokens": 5.0}),
}


@pytest.mark.parametrize("name", TOLD)
def test_tokens_wherever_they_are_told(read: Read, name: str) -> None:
    assert answered(read, TOLD[name]).tokens == Tokens(10, 5)


@pytest.mark.parametrize(
    "usage", [None, {}, [], "many", {"prompt_tokens": None}, {"completion_tokens": 5}]
)
def test_tokens_that_are_not_told_are_not_known(read: Read, usage: Any) -> None:
    found = answered(read, message({"content": "x"}, usage=usage))
    assert (found.reply.text, found.tokens) == ("x", None)


@pytest.mark.parametrize(
    ("more", "read_", "written"),
    [
        ({"prompt_tokens_details": {"cached_tokens": 3}}, 3, 0),
        ({"prompt_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 4}}, 3, 4),
        ({"prompt_tokens_details": {"cached_tokens": None, "cache_write_tokens": 4}}, 0, 4),
        ({"prompt_cache_hit_tokens": 3, "prompt_cache_miss_tokens": 7}, 3, 0),  # DeepSeek
        ({"cached_tokens": 3}, 3, 0),  # Moonshot
        ({"prompt_tokens_details": {"cached_tokens": "x"}}, 0, 0),
    ],
)
def test_cached_tokens(read: Read, more: dict[str, Any], read_: int, written: int) -> None:
    found = answered(read, message({"content": "x"}, usage={**USAGE, **more}))
    assert found.tokens == Tokens(10, 5, read_, written)


@pytest.mark.parametrize(
    "content",
    [
        whole({"error": {"message": "m", "code": 429}}),
        whole({"error": "m"}),
        whole({"object": "error", "message": "m", "code": 400}),
        whole({"choices": None, "error": {"message": "m"}}),
        whole({"choices": [{"error": {"message": "m", "code": 502}, "finish_reason": "error"}]}),
        sse(said("hel"), {"error": {"message": "m"}}),
        sse(said("hel"), {"error": {"message": "m"}}, done=True),
        sse({"choices": [{"delta": {"content": ""}, "error": {"message": "m"}}]}),
    ],
)
def test_an_error_inside_a_successful_answer(read: Read, content: bytes) -> None:
    with pytest.raises(FailedError):
        answered(read, content)


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (message({"content": "hel"}, "content_filter"), ProviderRefusedError),
        (message({"content": None, "refusal": "I will not."}), ProviderRefusedError),
        (message({"content": [{"type": "refusal", "refusal": "No."}]}), ProviderRefusedError),
        (stream(chunk({"refusal": "I "}), chunk({"refusal": "won't"})), ProviderRefusedError),
        (message({"content": "hel"}, "error"), ProviderUnavailableError),
        (sse(said("hel")), ProviderUnavailableError),  # it broke off
        (whole({}), BadAnswerError),
        (whole([]), BadAnswerError),
        (whole({"choices": []}), BadAnswerError),
        (whole({"choices": "none"}), BadAnswerError),
        (whole({"detail": "not found"}), BadAnswerError),
        (sse(done=True), BadAnswerError),
        (b"", BadAnswerError),
    ],
)
def test_what_is_no_answer(read: Read, content: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        answered(read, content)
