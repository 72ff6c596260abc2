from __future__ import annotations

import base64
from typing import Any

import pytest

from celery_agents.contracts.ask import Ask
from celery_agents.contracts.conversation import ChatMessage
from celery_agents.errors import InvalidPayloadError

PIXEL = base64.b64encode(b"pixel").decode()
CALL = {"id": "1", "name": "find", "arguments": {"n": 1}}
USER = {"role": "user", "content": "Hello"}
CALLS = {"role": "assistant", "tool_calls": [CALL]}
RESULT = {"role": "tool", "content": "found", "call_id": "1"}


def ask(*messages: Any, question: Any = None) -> Ask:
    return Ask.from_message([question], {"agent": "a", "messages": list(messages)})


@pytest.mark.parametrize(
    "messages",
    [
        [USER],
        [{"role": "system", "content": "Be terse."}, USER],
        [USER, CALLS, RESULT],
        [
            USER,
            {**CALLS, "content": "I look."},
            RESULT,
            {"role": "assistant", "content": "!"},
            USER,
        ],
        [
            {
                "role": "user",
                "content": [
                    {"kind": "text", "text": "What is it?"},
                    {"kind": "image", "media_type": "image/png", "data": PIXEL},
                ],
            }
        ],
        [
            {
                "role": "user",
                "content": [
                    {
                        "kind": "file",
                        "media_type": "application/pdf",
                        "url": "https://example.com/a.pdf",
                    }
                ],
            }
        ],
    ],
)
def test_what_is_a_conversation_goes_through_a_message_unharmed(messages: list[Any]) -> None:
    asked = ask(*messages)
    again = Ask.from_message([None], asked.message_options())
    assert again.messages == asked.messages
    assert len(asked.messages) == len(messages)


@pytest.mark.parametrize(
    ("messages", "told"),
    [
        ([CALLS, USER], "the call '1' has no result"),
        ([USER, CALLS], "the call '1' has no result"),
        ([USER, RESULT], "no open call has the id '1'"),
        ([CALLS, RESULT, RESULT], "no open call has the id '1'"),
        ([{**CALLS, "tool_calls": [CALL, CALL]}, RESULT], "two of its calls have one id"),
        ([{"role": "user", "content": "x", "tool_calls": [CALL]}], "only an assistant calls tools"),
        ([{"role": "tool", "content": "x"}], "call_id belongs to a message of a tool"),
        ([{**USER, "call_id": "1"}], "call_id belongs to a message of a tool"),
        ([{"role": "user"}], "the message says nothing"),
        ([{"role": "judge", "content": "x"}], "role"),
        ([USER, {"role": "assistant", "content": "Hi"}], "ends without a question"),
        ([{"role": "system", "content": [
            {"kind": "image", "media_type": "image/png", "data": PIXEL}]}], "are a user's"),
        ([{"role": "user", "content": [{"kind": "image", "media_type": "image/png"}]}],
         "a url or its data"),
        ([{"role": "user", "content": [
            {"kind": "image", "media_type": "image/png", "data": "no base64!"}]}], "not base64"),
        ([{"role": "user", "content": [
            {"kind": "image", "media_type": "image/png", "url": "file:///etc/passwd"}]}], "url"),
        ([{"role": "user", "content": [
            {"kind": "file", "media_type": "text", "data": PIXEL}]}], "media_type"),
    ],
)  # fmt: skip
def test_what_no_provider_could_take_is_refused_at_the_call(messages: list[Any], told: str) -> None:
    with pytest.raises(InvalidPayloadError, match=told):
        ask(*messages)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (5, "Ask: messages.0.content.parts: Input should be a valid list"),
        ([{"kind": "text"}], "Ask: messages.0.content.parts.0.text.text: Field required"),
    ],
)
def test_a_mistake_is_told_where_it_is_and_once(content: Any, told: str) -> None:
    with pytest.raises(InvalidPayloadError) as caught:
        ask({"role": "user", "content": content})
    assert str(caught.value) == told


def test_an_input_is_the_newest_message() -> None:
    assert (
        ask(USER, {"role": "assistant", "content": "Hi"}, question="And now?").input == "And now?"
    )


def test_its_texts_and_parts() -> None:
    message = ChatMessage.model_validate(
        {"role": "user", "content": [{"kind": "text", "text": "a"}, {"kind": "text", "text": "b"}]}
    )
    assert message.text == "a\nb"
    assert message.attachments == ()
