"""Conversations as clients of OpenAI's send them, in the form of ours."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.catalog.panels import Panel
from api.openai.bodies import ChatBody, ResponseBody
from api.openai.catalog import ModelCatalog
from api.openai.conversing import of_chat, of_input, told
from api.problems import ProblemError
from app.access.permissions import ANYBODY, Principal, Role
from celery_agents.contracts.patterns import Vote
from tests.support.drawn import costly

_KINDS = st.sampled_from(
    [
        *("text", "input_text", "refusal", "image_url", "input_image", "file", "input_file"),
        *("message", "function_call", "function_call_output", "reasoning"),
    ]
)
PIXEL = "data:image/png;base64,aGk="


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def call(call_id: str, arguments: str = "{}") -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": "f", "arguments": arguments}}


@pytest.mark.parametrize(
    ("messages", "instructions", "before", "text"),
    [
        ([user("a")], None, [], "a"),
        ([{"role": "system", "content": "s"}, user("a")], "s", [], "a"),
        (
            [{"role": "system", "content": "s"}, {"role": "developer", "content": "t"}, user("a")],
            "s\n\nt",
            [],
            "a",
        ),
        # One amid the conversation stays where it is.
        ([user("a"), {"role": "system", "content": "s"}, user("b")], None, ["a", "s"], "b"),
        ([user([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}])], None, [], "a\nb"),
        # An image is told as a message, and there is no input beside it.
        ([user([{"type": "image_url", "image_url": {"url": PIXEL}}])], None, [""], None),
        (
            [
                user("a"),
                {"role": "assistant", "content": None, "tool_calls": [call("1", '{"x": 1}')]},
                {"role": "tool", "tool_call_id": "1", "content": "5"},
            ],
            None,
            ["a", "", "5"],
            None,
        ),
    ],
)
def test_chats(
    messages: list[dict[str, Any]], instructions: str | None, before: list[str], text: Any
) -> None:
    found = told(of_chat(messages))
    assert found.instructions == instructions
    assert [m.text for m in found.messages] == before
    assert found.input == text


def test_what_stands_in_parts() -> None:
    image, page, other = of_chat(
        [
            user([{"type": "image_url", "image_url": {"url": PIXEL}}]),
            user([{"type": "image_url", "image_url": {"url": "https://a.example/b.png?c=d"}}]),
            user([{"type": "file", "file": {"file_data": PIXEL, "filename": "a.png"}}]),
        ]
    )
    (one,), (two,), (three,) = image.attachments, page.attachments, other.attachments
    assert (one.media_type, one.data) == ("image/png", "aGk=")
    assert (two.media_type, two.url) == ("image/png", "https://a.example/b.png?c=d")
    assert (three.kind, three.name) == ("file", "a.png")


def test_items_of_a_response() -> None:
    items: list[dict[str, Any]] = [
        user([{"type": "input_text", "text": "a"}]),
        {"type": "reasoning", "summary": []},
        {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"},
        {"type": "function_call", "call_id": "2", "name": "f", "arguments": "no JSON"},
        {"type": "function_call_output", "call_id": "1", "output": "5"},
        {"type": "function_call_output", "call_id": "2", "output": [{"x": 1}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "b"}]},
        user("c"),
    ]
    found = told(of_input(items), "be short")
    assert (found.instructions, found.input) == ("be short", "c")
    roles = [m.role for m in found.messages]
    assert roles == ["user", "assistant", "tool", "tool", "assistant"]
    calls = found.messages[1].tool_calls
    assert [(c.id, c.arguments) for c in calls] == [("1", {}), ("2", {"arguments": "no JSON"})]
    assert told(of_input("hi")).input == "hi"


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([{"role": "king", "content": "a"}], "messages[0].role"),
        ([user("a"), {"role": "tool", "content": "a"}], "messages[1]"),
        ([user([{"type": "input_audio"}])], "messages[0].content[0]"),
        ([user(["a"])], "messages[0].content[0]"),
        ([user([{"type": "image_url", "image_url": {"url": "file:///etc"}}])], "messages[0].c"),
        ([user([{"type": "image_url", "image_url": "x"}])], "messages[0].content[0]"),
        ([user([{"type": "file", "file": {"file_id": "f"}}])], "messages[0].content[0]"),
        ([{"role": "assistant", "tool_calls": 5}], "messages[0].tool_calls"),
        ([{"role": "assistant", "tool_calls": [{"id": "1"}]}], "messages[0].tool_calls"),
        ([user([{"type": "image_url"}])], "messages[0].content[0]"),
        ([user([{"type": "file"}])], "messages[0].content[0]"),
        ([user([{"type": []}])], "messages[0].content[0]"),
        ([user([{"type": {}}])], "messages[0].content[0]"),
        ([{"role": "assistant", "tool_calls": [5]}], "messages[0].tool_calls"),
        (
            [{"role": "assistant", "tool_calls": [{"id": "1", "function": "x"}]}],
            "messages[0].tool_calls",
        ),
        ([user(5)], "messages[0].content"),
        ([user("")], "messages[0]"),
    ],
)
def test_what_is_none(messages: list[dict[str, Any]], param: str) -> None:
    with pytest.raises(ProblemError) as error:
        of_chat(messages)
    assert error.value.status == 400
    assert (error.value.param or "").startswith(param)


@pytest.mark.parametrize(
    ("more", "ignored", "param"),
    [
        ({}, [], None),
        ({"temperature": 1, "max_tokens": 5, "user": None}, ["max_tokens", "temperature"], None),
        ({"n": 1, "tools": [], "tool_choice": "auto", "stop": None}, [], None),
        ({"n": 2}, [], "n"),
        ({"n": True}, [], "n"),
        ({"logprobs": True}, [], "logprobs"),
        ({"what": None}, [], "what"),
    ],
)
def test_parameters(more: dict[str, Any], ignored: list[str], param: str | None) -> None:
    body = ChatBody.model_validate({"model": "m", "messages": [user("a")], **more})
    if param is None:
        assert body.ignored() == ignored
        return
    with pytest.raises(ProblemError) as error:
        body.ignored()
    assert error.value.param == param


def test_the_background_is_kept() -> None:
    body = {"model": "m", "input": "a", "store": False}
    assert ResponseBody.model_validate(body).ignored() == ["store"]
    with pytest.raises(ProblemError, match="background"):
        ResponseBody.model_validate({**body, "background": True}).ignored()


def test_models_are_looked_for_again() -> None:
    """A name that is not known is read anew, at most once a second; a known one is not."""
    now, reads = [0.0], [0]
    rows = [{"name": "a", "kind": "function", "seen_at": 5.5}]

    async def offered() -> list[dict[str, Any]]:
        reads[0] += 1
        return rows

    panel = Panel("p", "vote", Vote(voters=("a", "b")))
    catalog = ModelCatalog({"p": panel}, offered, lambda: now[0])

    async def find(name: str, who: Principal = ANYBODY) -> Panel | None:
        return await catalog.find(who, name)

    async def tried() -> None:
        assert await find("p") is panel
        assert reads == [0]
        for _ in range(2):
            assert await find("a") is None
        assert reads == [1]
        with pytest.raises(ProblemError):
            await find("b")
        assert reads == [1]
        now[0] = 1.0
        rows.append({"name": "b", "kind": "function", "seen_at": 6.0})
        assert await find("b") is None
        with pytest.raises(ProblemError):
            await find("p", Principal(id="x", role=Role.USER, agents=("a",)))
        assert [m["id"] for m in await catalog.listed(ANYBODY)] == ["p", "a", "b"]

    asyncio.run(tried())
    assert catalog.named("agents.ask", {"agent": "a"}) == "a"
    assert catalog.named("agents.vote", {**panel.options, "instructions": "x"}) == "p"
    assert catalog.named("agents.vote", {"voters": []}) == "agents.vote"


def test_arguments_of_any_depth_are_told_as_they_are() -> None:
    deep = "[" * 100_000
    (message,) = of_chat([{"role": "assistant", "content": "", "tool_calls": [call("1", deep)]}])
    assert message.tool_calls[0].arguments == {"arguments": deep}


_ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda i: (
        st.lists(i, max_size=2)
        | st.dictionaries(st.sampled_from(["type", "text", "function", "file", "url", "id"]), i)
    ),
    max_leaves=5,
)
_LIKE_MESSAGES = st.fixed_dictionaries(
    {},
    optional={
        "role": st.sampled_from(["user", "assistant", "tool", "system"]) | _ANYTHING,
        "content": _ANYTHING | st.lists(st.fixed_dictionaries({"type": _KINDS | _ANYTHING})),
        "tool_calls": _ANYTHING,
        "tool_call_id": _ANYTHING,
        "type": _KINDS | _ANYTHING,
        "call_id": _ANYTHING,
        "output": _ANYTHING,
    },
)


@settings(max_examples=costly(100, part=3))
@given(_LIKE_MESSAGES)
def test_whatever_is_sent_is_told_or_refused(message: dict[str, Any]) -> None:
    for read in (of_chat, of_input):
        with suppress(ProblemError):
            read([message])
