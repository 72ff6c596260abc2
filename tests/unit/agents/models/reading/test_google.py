"""Gemini's protocol as it and proxies before it speak it."""

from __future__ import annotations

from typing import Any

import pytest

from agents.models.provider import Tokens
from agents.models.reading.google import GoogleReading
from agents.net.faults import FailedError
from celery_agents.errors import BadAnswerError, ProviderRefusedError, ProviderUnavailableError

from .conftest import Read, sse, whole

HELLO = {"text": "hello"}
OSLO = {"functionCall": {"name": "weather", "args": {"city": "Oslo"}}}
WEATHER = ("weather", {"city": "Oslo"})
USAGE = {"promptTokenCount": 10, "candidatesTokenCount": 5}


def response(parts: Any = ..., finish: Any = "STOP", **more: Any) -> dict[str, Any]:
    content = {} if parts is ... else {"content": {"role": "model", "parts": parts}}
    reason = {} if finish is None else {"finishReason": finish}
    return {"candidates": [{**content, **reason, "index": 0}], **more}


def answered(read: Read, content: bytes) -> Any:
    return read(GoogleReading("it"), content)


TEXTS = {
    "whole": whole(response([HELLO])),
    "streamed": sse(response([{"text": "hel"}], None), response([{"text": "lo"}])),
    "a list, as without alt=sse": whole(
        [response([{"text": "hel"}], None), response([{"text": "lo"}])]
    ),
    "whole where a stream was asked, no finishReason": whole(response([HELLO], None)),
    "no content at the end": sse(response([HELLO], None), response()),
    "content null at the end": sse(
        response([HELLO], None), {"candidates": [{"content": None, "finishReason": "STOP"}]}
    ),
    "parts null at the end": sse(response([HELLO], None), response(None)),
    "no candidates at the end": sse(response([HELLO]), {"usageMetadata": USAGE}),
    "candidates null": sse({"candidates": None}, response([HELLO])),
    "one candidate that is not in a list": whole(
        {"candidates": response([HELLO])["candidates"][0]}
    ),
    "one part that is not in a list": whole(response(HELLO)),
    "a string as part": whole(response(["hello"])),
    "a string as content": whole({"candidates": [{"content": "hello", "finishReason": "STOP"}]}),
    "text null": whole(response([{"text": None}, HELLO])),
    "thoughts before": whole(response([{"text": "hm", "thought": True}, HELLO])),
    "a part of a kind to come": whole(response([{"news": {"a": 1}}, HELLO])),
    "by snake_case names": whole(
        {"candidates": [{"content": {"parts": [HELLO]}, "finish_reason": "STOP"}]}
    ),
    "lower case": whole(response([HELLO], "stop")),
    "unspecified": whole(response([HELLO], "FINISH_REASON_UNSPECIFIED")),
    "no finishReason but [DONE]": sse(response([HELLO], None), done=True),
    "feedback without a block": whole(response([HELLO], promptFeedback={"safetyRatings": []})),
    "an error after the end": sse(response([HELLO]), {"error": {"code": 500}}),
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_that_is_plain(read: Read, name: str) -> None:
    reply = answered(read, TEXTS[name]).reply
    assert (reply.text, reply.stop, reply.tool_calls) == ("hello", "end", ())


def call(**more: Any) -> dict[str, Any]:
    function = {**OSLO["functionCall"], **more}
    return {"functionCall": {k: v for k, v in function.items() if v is not ...}}


CALLS = {
    "whole": whole(response([OSLO])),
    "streamed": sse(response([OSLO], None), response([])),
    "args as text": whole(response([call(args='{"city": "Oslo"}')])),
    "id null": whole(response([call(id=None)])),
    "by snake_case names": whole(response([{"function_call": OSLO["functionCall"]}])),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_call_that_is_plain(read: Read, name: str) -> None:
    (found,) = (reply := answered(read, CALLS[name]).reply).tool_calls
    assert (found.name, found.arguments, found.id) == (*WEATHER, "")
    (sent,) = reply.native["parts"]
    assert sent["functionCall"]["args"] == {"city": "Oslo"}


@pytest.mark.parametrize("args", [..., None, "", "{}", {}, []])
def test_a_call_without_arguments(read: Read, args: Any) -> None:
    reply = answered(read, whole(response([call(name="clock", args=args)]))).reply
    assert [(c.name, c.arguments) for c in reply.tool_calls] == [("clock", {})]
    assert reply.native["parts"][0]["functionCall"]["args"] == {}


def test_parallel_calls_in_any_number_of_chunks(read: Read) -> None:
    clock = call(name="clock", args={}, id="c")
    streamed = sse(response([OSLO], None), response([clock], None), response([OSLO]))
    for content in (streamed, whole(response([OSLO, clock, OSLO]))):
        reply = answered(read, content).reply
        assert [c.name for c in reply.tool_calls] == ["weather", "clock", "weather"]
        assert [c.id for c in reply.tool_calls] == ["", "c", ""]


def test_what_goes_back_is_what_came(read: Read) -> None:
    """With signatures and with parts that nobody here knows; text that was streamed is one part."""
    signed = {**OSLO, "thoughtSignature": "c2ln"}
    odd = {"news": {"a": 1}}
    streamed = sse(
        response([{"text": "a"}], None), response([{"text": "b"}], None), response([odd, signed])
    )
    native = answered(read, streamed).reply.native
    assert native == {"role": "model", "parts": [{"text": "ab"}, odd, signed]}


def test_args_that_cannot_be_read_are_left_to_the_tool(read: Read) -> None:
    reply = answered(read, whole(response([call(args='{"city": ')]))).reply
    assert reply.tool_calls[0].arguments == '{"city": '
    assert isinstance(reply.native["parts"][0]["functionCall"]["args"], dict)


def test_a_call_that_names_no_tool_is_none(read: Read) -> None:
    with pytest.raises(BadAnswerError, match="without naming it"):
        answered(read, whole(response([call(name=...)])))


@pytest.mark.parametrize("finish", ["MAX_TOKENS", "CONTINUATION", "max_tokens"])
def test_a_cut_answer(read: Read, finish: str) -> None:
    assert answered(read, whole(response([HELLO], finish))).reply.stop == "length"


TOLD = {
    "whole": whole(response([HELLO], usageMetadata=USAGE)),
    "at the end": sse(response([HELLO]), {"usageMetadata": USAGE}),
    "null later": sse(response([HELLO], usageMetadata=USAGE), {"usageMetadata": None}),
    "growing": sse(
        response([HELLO], None, usageMetadata={"promptTokenCount": 10}),
        response([], usageMetadata=USAGE),
    ),
    "thoughts apart": whole(
        response(
            [HELLO],
            usageMetadata={"promptTokenCount": 8, "candidatesTokenCount": 3}
            | {"thoughtsTokenCount": 2, "toolUsePromptTokenCount": 2},
        )
    ),
    "by snake_case names": whole(
        response([HELLO], usage_metadata={"prompt_token_count": 10, "candidates_token_count": 5})
    ),
}


@pytest.mark.parametrize("name", TOLD)
def test_tokens_wherever_they_are_told(read: Read, name: str) -> None:
    assert answered(read, TOLD[name]).tokens == Tokens(10, 5)


@pytest.mark.parametrize("usage", [None, {}, [], "x", {"promptTokenCount": 3.5}])
def test_tokens_that_are_not_told_are_not_known(read: Read, usage: Any) -> None:
    assert answered(read, whole(response([HELLO], usageMetadata=usage))).tokens is None


@pytest.mark.parametrize(
    "content",
    [
        whole({"error": {"code": 503, "message": "m", "status": "UNAVAILABLE"}}),
        whole([{"error": {"code": 503, "message": "m"}}]),
        whole({"candidates": [], "error": {"code": 429, "message": "m"}}),
        sse(response([HELLO], None), {"error": {"code": 500, "message": "m"}}),
    ],
)
def test_an_error_inside_a_successful_answer(read: Read, content: bytes) -> None:
    with pytest.raises(FailedError):
        answered(read, content)


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (whole({"promptFeedback": {"blockReason": "SAFETY"}}), ProviderRefusedError),
        (whole(response([HELLO], "SAFETY")), ProviderRefusedError),
        (whole(response([HELLO], "A_REASON_TO_COME")), ProviderRefusedError),
        (whole(response(..., "MALFORMED_FUNCTION_CALL")), BadAnswerError),
        (sse(response([HELLO], None)), ProviderUnavailableError),  # it broke off
        (whole({}), BadAnswerError),
        (whole([]), BadAnswerError),
        (whole({"candidates": []}), BadAnswerError),
        (whole({"candidates": [{}]}), BadAnswerError),
        (b"", BadAnswerError),
    ],
)
def test_what_is_no_answer(read: Read, content: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        answered(read, content)
