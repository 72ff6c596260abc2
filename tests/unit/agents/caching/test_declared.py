"""Caches as entries, functions and tools declare them, and who shares no answer."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from agents.catalog.kinds import Made
from agents.kinds.scripted import ScriptedBackend, ScriptedConfig
from agents.models.config import ModelConfig
from agents.patterns.gather import pattern as gathering
from agents.patterns.vote import panel
from agents.tools.policy import ToolPolicy
from celery_agents import agent
from celery_agents.agent import mark_of
from celery_agents.contracts.caching import CachePolicy, GivenCache
from celery_agents.contracts.gather import Gather
from celery_agents.contracts.patterns import Vote
from celery_agents.errors import ConfigurationError

MODEL: dict[str, Any] = {"provider": "openai", "model": "m"}


@pytest.mark.parametrize(
    ("given", "policy"),
    [
        (60, CachePolicy(ttl_s=60)),
        (0.5, CachePolicy(ttl_s=0.5)),
        ({}, CachePolicy()),
        ({"scope": "all", "version": "2"}, CachePolicy(scope="all", version="2")),
    ],
)
def test_a_number_is_its_time(given: Any, policy: CachePolicy) -> None:
    assert TypeAdapter(GivenCache).validate_python(given) == policy


@pytest.mark.parametrize("given", [True, "60", -1, {"ttl": 60}, {"semantic": {}}])
def test_what_is_no_policy_is_refused(given: Any) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(GivenCache).validate_python(given)


@pytest.mark.parametrize("temperature", [None, 0.7])
def test_a_model_that_answers_otherwise_each_time_says_so(temperature: float | None) -> None:
    with pytest.raises(ValidationError, match="temperature = 0, or any = true"):
        ModelConfig(**MODEL, temperature=temperature, cache=CachePolicy())
    assert ModelConfig(**MODEL, temperature=temperature, cache=CachePolicy(any=True)).cache
    assert ModelConfig(**MODEL, temperature=0, cache=CachePolicy()).cache


def test_what_has_effects_is_not_cached() -> None:
    backend = ScriptedBackend(ScriptedConfig())
    with pytest.raises(ConfigurationError, match="has effects"):
        Made(lambda: backend, "effect", cache=CachePolicy())
    assert Made(lambda: backend, "idempotent", cache=CachePolicy()).cache
    with pytest.raises(ConfigurationError, match="one with effects"):
        agent(effects="effect", cache=60)(print)
    with pytest.raises(ValidationError, match="of pure tools"):
        ToolPolicy(effects="idempotent", cache_s=60)
    assert ToolPolicy(effects="pure", cache_s=60).cache_s == 60


def test_a_function_is_marked_with_its_policy() -> None:
    @agent(cache={"ttl_s": 5, "version": "3"})
    def computed(_: str) -> int:
        return 1

    mark = mark_of(computed)
    assert mark is not None
    assert mark.cache == CachePolicy(ttl_s=5, version="3")


def uses(members: Any) -> list[Any]:
    return [member.options.get("cache") for member in members]


def test_samples_share_no_answer() -> None:
    vote = Vote.model_validate(
        {"input": "?", "voters": [{"agent": "a", "samples": 2}, "b"], "choices": ["x", "y"]}
    )
    assert uses(panel.wave(vote, vote.voters, None).members) == ["off", "off", None]
    gather = Gather.model_validate(
        {"input": "?", "agents": ["a", {"agent": "b", "name": "1"}, {"agent": "b", "name": "2"}]}
    )
    plan: Any = gathering.advance(gather, [])
    assert uses(plan.members) == [None, "off", "off"]
