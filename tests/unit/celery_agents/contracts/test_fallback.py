from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from celery_agents.contracts.fallback import FallbackPolicy


def policy(*candidates: Any, **more: Any) -> FallbackPolicy:
    return FallbackPolicy.model_validate({"candidates": list(candidates), **more})


def test_strings_are_candidates_with_unique_keys() -> None:
    found = policy("a", {"agent": "a", "timeout_s": 60}, {"agent": "b", "on": ["timeout"]})
    assert [c.key for c in found.candidates] == ["a", "a#2", "b"]
    assert found.candidates[1].timeout_s == 60


@pytest.mark.parametrize("small", [True, False])
@pytest.mark.parametrize("default", [None, {"value": None}, {"value": {"a": [1]}}])
def test_policies_survive_json(default: Any, small: bool) -> None:
    found = policy("a", "a", {"agent": "b", "weight": "2/3"}, default=default, strategy="hedged")
    again = FallbackPolicy.model_validate(found.model_dump(mode="json", exclude_defaults=small))
    assert again == found
    assert (again.default is None) == (default is None)  # a default of null is a default


@pytest.mark.parametrize(
    ("candidates", "more", "message"),
    [
        ([], {}, "at least 1"),
        ([{"agent": "a", "on": ["timeout"]}], {}, "to start with"),
        ([{"agent": "a", "weight": 0}], {}, "greater than"),
        ([{"agent": "a", "timeout_s": 0}], {}, "greater than"),
        (["a"], {"strategy": "random"}, "sequential"),
        (["a"], {"hedge": {"quantile": 1}}, "less than"),
    ],
)
def test_mistakes_are_told(candidates: list[Any], more: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        policy(*candidates, **more)
