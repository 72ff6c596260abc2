"""Limits of agents.toml: what they cover has to be there."""

from __future__ import annotations

import pytest

from agents.catalog.limits import check_covers
from celery_agents.contracts.limits import LimitPolicy
from celery_agents.errors import ConfigurationError

PLACES = {"agent:gpt", "kind:openai", "provider:openai@localhost:11434"}


@pytest.mark.parametrize(
    ("cover", "meant"),
    [
        ("agent:gtp", "Did you mean 'agent:gpt'"),
        ("provider:openai", "Did you mean 'provider:openai@localhost:11434'"),  # another server
        ("provider:xyz", "is no agent, kind or provider here.$"),
    ],
)
def test_what_nobody_is_says_what_is_meant(cover: str, meant: str) -> None:
    policies = {"one": LimitPolicy(covers=(cover,), concurrent=1)}
    with pytest.raises(ConfigurationError, match=meant):
        check_covers("limits", policies, PLACES)


def test_what_is_there_is_covered() -> None:
    policies = {"one": LimitPolicy(covers=tuple(sorted(PLACES)), concurrent=1)}
    check_covers("limits", policies, PLACES)
