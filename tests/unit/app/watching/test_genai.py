"""Every name of a span stands in the conventions' registry, or is ours."""

from __future__ import annotations

import json

import pytest
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes

from app.watching import genai
from celery_agents import names
from celery_agents.contracts.outcome import Usage
from tests.unit.app.watching.gen_ai_names import NAMES, OPERATIONS, PROVIDERS

_USED = {value for name, value in vars(genai).items() if name.isupper() and name[0] != "_"}


def test_every_name_is_known() -> None:
    assert {name for name in _USED if name.startswith("gen_ai.")} <= NAMES
    assert {name for name in _USED if not name.startswith("gen_ai.")} - {"error.type"} == {
        name for name in _USED if name.startswith("agents.")
    }


def test_our_list_of_them_is_the_packages() -> None:
    assert {v for v in vars(gen_ai_attributes).values() if isinstance(v, str)} >= NAMES
    operations = gen_ai_attributes.GenAiOperationNameValues  # type: ignore[deprecated]  # moves
    providers = gen_ai_attributes.GenAiProviderNameValues  # type: ignore[deprecated]
    kinds = operations, providers
    assert [{one.value for one in kind} for kind in kinds] == [OPERATIONS, PROVIDERS]


@pytest.mark.parametrize(
    ("task", "agent", "name"),
    [
        (names.ASK, "gpt", "invoke_agent gpt"),
        (names.VOTE, None, "invoke_workflow vote"),
        (names.APPROVAL, None, "invoke_workflow approval"),
        ("twice.twice", None, "invoke_workflow twice.twice"),
    ],
)
def test_of_steps(task: str, agent: str | None, name: str) -> None:
    told, about = genai.of_step(task, agent)
    assert told == name
    assert about[genai.OPERATION] in OPERATIONS
    assert about.keys() <= NAMES


@pytest.mark.parametrize(
    ("call", "name", "kind"),
    [
        ("model:openai/gpt-5", "chat gpt-5", "CLIENT"),
        ("model:google/gemini-2.5", "chat gemini-2.5", "CLIENT"),
        ("tool:search", "execute_tool search", "INTERNAL"),
        ("http", "http", "CLIENT"),
        ("function", "function", "INTERNAL"),
        ("cache:model:openai/gpt-5", "cache:model:openai/gpt-5", "INTERNAL"),
    ],
)
def test_of_calls(call: str, name: str, kind: str) -> None:
    told, of, about = genai.of_call(call)
    assert (told, of) == (name, kind)
    assert about.get(genai.OPERATION, "chat") in OPERATIONS
    assert about.get(genai.PROVIDER, "openai") in PROVIDERS


def test_of_what_was_used_only_what_is_there_is_told() -> None:
    used = Usage(calls=1, input_tokens=7, output_tokens=2, cost_usd=0.5)
    told = {genai.INPUT_TOKENS: 7, genai.OUTPUT_TOKENS: 2, genai.COST_USD: 0.5}
    assert genai.of_usage(used) == told
    assert genai.of_usage(Usage(calls=1, cost_usd=None)) == {}


def test_content_has_the_form_of_the_conventions() -> None:
    (told,) = genai.of_content(genai.INPUT, "user", "grüße").values()
    assert json.loads(told) == [{"role": "user", "parts": [{"type": "text", "content": "grüße"}]}]
