"""Conversations in the three providers' own forms, which their servers take or refuse."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agents.models.anthropic import AnthropicProvider
from agents.models.config import ModelConfig
from agents.models.google import GoogleProvider
from agents.models.openai import OpenAIProvider
from agents.models.provider import Exchange, ModelRequest, Reply
from agents.net.clients import SharedClients
from celery_agents.contracts.conversation import ChatMessage, checked
from celery_agents.errors import InvalidPayloadError
from tests.fakes.refusals import refuse
from tests.support.drawn import costly

PROVIDERS: dict[str, Any] = {
    "openai": OpenAIProvider,
    "anthropic": AnthropicProvider,
    "google": GoogleProvider,
}
words = st.text(min_size=1, max_size=8)
images = st.fixed_dictionaries(
    {"kind": st.just("image"), "media_type": st.just("image/png"), "data": st.just("cGl4ZWw=")}
)
texts = st.fixed_dictionaries({"kind": st.just("text"), "text": words})
user = st.fixed_dictionaries(
    {"role": st.just("user"), "content": words | st.lists(texts | images, min_size=1, max_size=3)}
)
system = st.fixed_dictionaries({"role": st.just("system"), "content": words})
says = st.fixed_dictionaries({"role": st.just("assistant"), "content": words})


@st.composite
def exchanges(draw: st.DrawFn) -> list[Any]:
    """A question, tools with their results in any order, and an answer."""
    number = draw(st.integers(0, 3))
    calls = [
        {"id": f"c{n}", "name": draw(st.sampled_from(["find", "pay"])), "arguments": {"n": n}}
        for n in range(number)
    ]
    results: list[Any] = [{"role": "tool", "call_id": c["id"], "content": "r"} for c in calls]
    asked: list[Any] = [{"role": "assistant", "content": draw(st.just("") | words),
                         "tool_calls": calls}] if calls else []  # fmt: skip
    return [draw(user), *asked, *draw(st.permutations(results)), draw(says)]


def numbered(group: list[Any], place: int) -> list[Any]:
    """The same with ids of calls that no other exchange has, as Anthropic wants them."""
    return [
        {
            **message,
            **({"call_id": f"{place}{message['call_id']}"} if "call_id" in message else {}),
            "tool_calls": [{**c, "id": f"{place}{c['id']}"} for c in message.get("tool_calls", ())],
        }
        for message in group
    ]


histories = st.builds(
    lambda before, groups, last: [
        *before,
        *[m for place, g in enumerate(groups) for m in numbered(g, place)],
        last,
    ],
    st.lists(system, max_size=2),
    st.lists(exchanges(), max_size=4),
    user,
)


def body_of(call: Any) -> Any:
    return call.get("json", call)


def prepared(provider: str, history: list[Any], **fields: Any) -> Any:
    config = ModelConfig(provider=provider, model="m")
    made = PROVIDERS[provider](config, clients=SharedClients(), resolve_secret=lambda _: "k")
    messages = checked(tuple(ChatMessage.model_validate(m) for m in history))
    about = {"model": "m", "system": "Be kind.", "user": None} | fields
    return made._prepare(ModelRequest(history=messages, **about))


@pytest.mark.parametrize("provider", list(PROVIDERS))
@settings(
    max_examples=costly(300, part=10), suppress_health_check=[HealthCheck.too_slow], deadline=None
)
@given(history=histories)
def test_any_conversation_is_taken(provider: str, history: list[Any]) -> None:
    call = prepared(provider, history)
    refuse(provider, body_of(call))
    told = json.dumps(call, ensure_ascii=False)
    for message in history:
        if isinstance(message["content"], str):
            assert json.dumps(message["content"], ensure_ascii=False)[1:-1] in told


@pytest.mark.parametrize("provider", list(PROVIDERS))
def test_an_input_is_the_newest_message(provider: str) -> None:
    told = prepared(provider, [{"role": "user", "content": "one"}], user="two")
    found = told["json"]["contents"] if provider == "google" else told["messages"]
    assert "two" in json.dumps(found[-1])
    assert "one" in json.dumps(found[-2])


@pytest.mark.parametrize(
    ("provider", "sent"),
    [
        ("openai", {"role": "user", "content": ""}),
        ("anthropic", {"role": "user", "content": ""}),
        ("google", {"role": "user", "parts": [{"text": ""}]}),
    ],
)
def test_an_input_may_be_empty(provider: str, sent: Any) -> None:
    told = prepared(provider, [], user="")
    found = told["json"]["contents"] if provider == "google" else told["messages"]
    assert found[-1] == sent


def test_instructions_in_the_middle_stand_with_the_others() -> None:
    history = [{"role": "user", "content": "a"}, {"role": "system", "content": "Be terse."},
               {"role": "user", "content": "b"}]  # fmt: skip
    assert prepared("anthropic", history)["system"] == "Be kind.\n\nBe terse."
    found = prepared("google", history)["json"]["systemInstruction"]
    assert found == {"parts": [{"text": "Be kind.\n\nBe terse."}]}
    roles = [m["role"] for m in prepared("openai", history)["messages"]]
    assert roles == ["system", "user", "system", "user"]


FILE = {"kind": "file", "media_type": "application/pdf", "name": "a.pdf"}


@pytest.mark.parametrize(
    ("provider", "part", "sent"),
    [
        ("openai", {"data": "cGRm"}, {"type": "file", "file": {
            "filename": "a.pdf", "file_data": "data:application/pdf;base64,cGRm"}}),
        ("openai", {"kind": "image", "media_type": "image/png", "url": "https://e.com/a.png"},
         {"type": "image_url", "image_url": {"url": "https://e.com/a.png"}}),
        ("anthropic", {"url": "https://e.com/a.pdf"}, {"type": "document", "title": "a.pdf",
         "source": {"type": "url", "url": "https://e.com/a.pdf"}}),
        ("anthropic", {"kind": "image", "media_type": "image/png", "data": "cGRm"},
         {"type": "image", "source": {
             "type": "base64", "media_type": "image/png", "data": "cGRm"}}),
        ("google", {"data": "cGRm"}, {"inlineData": {
            "mimeType": "application/pdf", "data": "cGRm"}}),
        ("google", {"url": "https://e.com/a.pdf"}, {"fileData": {
            "mimeType": "application/pdf", "fileUri": "https://e.com/a.pdf"}}),
    ],
)  # fmt: skip
def test_images_and_files(provider: str, part: Any, sent: Any) -> None:
    call = prepared(provider, [{"role": "user", "content": [FILE | part]}])
    found = call["json"]["contents"] if provider == "google" else call["messages"]
    assert found[-1]["parts" if provider == "google" else "content"] == [sent]


def test_openai_takes_no_file_by_its_url() -> None:
    with pytest.raises(InvalidPayloadError, match="takes files as data"):
        prepared("openai", [{"role": "user", "content": [FILE | {"url": "https://e.com/a.pdf"}]}])


@pytest.mark.parametrize("provider", list(PROVIDERS))
def test_a_complaint_is_the_users(provider: str) -> None:
    """About an answer without the form that was asked for, which goes back as it came."""
    native = {"openai": {"role": "assistant", "content": "7"}, "anthropic": "7",
              "google": {"role": "model", "parts": [{"text": "7"}]}}[provider]  # fmt: skip
    exchange = Exchange(reply=Reply(text="7", native=native), complaint="No object.")
    history = [{"role": "user", "content": "?"}]
    call = prepared(provider, history, exchanges=(exchange,))
    refuse(provider, body_of(call))
    found = call["json"]["contents"] if provider == "google" else call["messages"]
    assert [m["role"] for m in found][-3:] in (
        ["user", "assistant", "user"],
        ["user", "model", "user"],
    )
    assert "No object." in str(found[-1])
