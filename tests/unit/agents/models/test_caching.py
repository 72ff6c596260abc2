"""Providers are asked to keep instructions and tools that are long, in each one's own words."""

from __future__ import annotations

from typing import Any

import pytest

from agents.governance.lessons import Own
from agents.models.caching import PromptCache
from agents.models.config import ModelConfig
from agents.models.provider import ModelRequest
from agents.models.providers import PROVIDERS
from agents.net.clients import SharedClients
from agents.tools.calls import ToolSpec
from agents.values import digest

LONG = "Answer in the words of the house. " * 200  # some 1,600 tokens
SHORT = "Be brief."
FIND = ToolSpec(name="find", description="Finds things.", parameters={"type": "object"})
KEEP = ToolSpec(name="keep", description="Keeps things.", parameters={"type": "object"})
MARK = {"cache_control": {"type": "ephemeral"}}


def config(provider: str = "openai", **fields: Any) -> ModelConfig:
    return ModelConfig.model_validate({"provider": provider, "model": "m", **fields})


def request(system: str | None = LONG, **fields: Any) -> ModelRequest:
    return ModelRequest.model_validate({"model": "m", "system": system, "user": "?", **fields})


def key(asked: ModelRequest, **fields: Any) -> str | None:
    return PromptCache(config(**fields), Own()).key(asked)


@pytest.mark.parametrize(
    ("system", "fields", "kept"),
    [
        (LONG, {}, True),
        (SHORT, {}, False),
        (None, {}, False),
        ("x" * 1023, {}, False),
        (LONG, {"prompt_cache": False}, False),
        (SHORT, {"prompt_cache": True}, True),
        (None, {"prompt_cache": True}, False),  # there is nothing to keep
        (LONG, {"base_url": "http://127.0.0.1:9"}, False),
        (SHORT, {"base_url": "http://127.0.0.1:9", "prompt_cache": True}, True),
    ],
)
def test_what_is_long_is_kept(system: str | None, fields: dict[str, Any], kept: bool) -> None:
    assert (key(request(system), **fields) is not None) == kept


def test_the_question_is_no_part_of_it() -> None:
    cache = PromptCache(config(), Own())
    first = cache.key(request())
    assert cache.key(request(user="another question " * 500)) == first
    assert cache.key(request(tools=(FIND,))) != first
    assert cache.key(request(SHORT, user=LONG)) is None


def test_how_it_is_kept_changes_nothing_of_what_is_asked() -> None:
    plain = request()
    assert digest([plain.model_copy(update={"cache_key": "k"})]) == digest([plain])


def prepared(provider: str, asked: ModelRequest) -> dict[str, Any]:
    made = PROVIDERS[provider](
        config(provider), clients=SharedClients(), resolve_secret=lambda _: None
    )
    return made._prepare(asked)


def test_anthropic_is_told_at_the_end_of_instructions_and_tools() -> None:
    pytest.importorskip("anthropic")
    told = prepared("anthropic", request("Hello.", tools=(FIND, KEEP), cache_key="k"))
    assert told["system"] == [{"type": "text", "text": "Hello.", **MARK}]
    assert [tool.get("cache_control") for tool in told["tools"]] == [None, MARK["cache_control"]]
    plain = prepared("anthropic", request("Hello.", tools=(FIND, KEEP)))
    assert plain["system"] == "Hello."
    assert "cache_control" not in str(plain)


def test_openai_is_told_a_key() -> None:
    assert prepared("openai", request(cache_key="k"))["prompt_cache_key"] == "k"
    assert "prompt_cache_key" not in prepared("openai", request())
