"""Whatever a server answers, a reading gives a reply or says why not; it never fails otherwise."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.models.reading.anthropic import AnthropicReading
from agents.models.reading.bodies import Body
from agents.models.reading.google import GoogleReading
from agents.models.reading.openai import OpenAIReading
from agents.net.faults import FailedError, told_error
from celery_agents.errors import AgentsError
from tests.support.drawn import costly

READINGS: dict[str, Any] = {
    "openai": lambda: OpenAIReading("it", ("weather",)),
    "anthropic": lambda: AnthropicReading("it"),
    "google": lambda: GoogleReading("it"),
}
NAMES = {
    "openai": "choices delta message content tool_calls function name arguments index id "
    "finish_reason usage error refusal text function_call prompt_tokens_details",
    "anthropic": "type message content content_block delta index text input id name stop_reason "
    "usage error partial_json thinking",
    "google": "candidates content parts text functionCall name args finishReason usageMetadata "
    "promptFeedback blockReason error thought",
}
WORDS = (
    "stop length weather {} message message_start content_block_start content_block_delta "
    "message_delta text_delta input_json_delta tool_use text STOP"
)


def json_of(names: str) -> st.SearchStrategy[Any]:
    plain = st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(WORDS.split())
    return st.recursive(
        plain,
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(names.split()), inner, max_size=4)
        ),
        max_leaves=12,
    )


@pytest.mark.parametrize("protocol", READINGS)
def test_any_json(protocol: str) -> None:
    @given(st.lists(json_of(NAMES[protocol]), max_size=4))
    @settings(deadline=None, max_examples=costly(300, part=10))
    def run(values: list[Any]) -> None:
        reading = READINGS[protocol]()
        try:
            texts = [reading.add(Body(value, last=True)) for value in values]
            reply = reading.completion().reply
        except FailedError as failed:
            told_error("it", failed, None)
        except AgentsError:
            pass
        else:
            assert all(isinstance(text, str) for text in texts)
            assert all(call.name for call in reply.tool_calls)
            assert type(reply).model_validate_json(reply.model_dump_json()) == reply

    run()
