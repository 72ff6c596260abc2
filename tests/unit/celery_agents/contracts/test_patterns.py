from __future__ import annotations

from typing import Any

import pytest

from celery_agents.contracts.ask import Ask
from celery_agents.contracts.gather import Gather
from celery_agents.contracts.mapping import Map
from celery_agents.contracts.patterns import Fallback, Vote

PATTERNS: list[tuple[Any, dict[str, Any]]] = [
    (Fallback, {"candidates": ["a"]}),
    (Vote, {"voters": ["a"]}),
    (Gather, {"agents": ["a"]}),
    (Map, {"agent": "a"}),
]


@pytest.mark.parametrize(("pattern", "options"), PATTERNS)
@pytest.mark.parametrize(
    ("limits", "whole_s"),
    [
        ({}, None),
        ({"timeout_s": 5}, 5),
        ({"deadline_s": 7}, 7),
        ({"timeout_s": 5, "deadline_s": 7}, 5),
        ({"timeout_s": 7, "deadline_s": 5}, 5),
    ],
)
def test_the_shorter_limit_of_a_pattern_holds(
    pattern: Any, options: dict[str, Any], limits: dict[str, float], whole_s: float | None
) -> None:
    assert pattern.model_validate({**options, **limits}).whole_s == whole_s


def test_a_timeout_of_one_attempt_is_not_of_the_step() -> None:
    assert Ask(agent="a", timeout_s=5).whole_s is None
    assert Ask(agent="a", timeout_s=5, deadline_s=7).whole_s == 7
