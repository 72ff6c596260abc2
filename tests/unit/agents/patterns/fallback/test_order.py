from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from agents.patterns.fallback.adaptive import Arm, Memory
from agents.patterns.fallback.order import eligible, order
from celery_agents.contracts.fallback import FallbackPolicy


def policy(*candidates: Any, **more: Any) -> FallbackPolicy:
    return FallbackPolicy.model_validate({"candidates": list(candidates), **more})


def keys(found: list[Any]) -> list[str]:
    return [candidate.key for candidate in found]


@pytest.mark.parametrize("strategy", ["sequential", "parallel", "hedged"])
def test_priority_then_as_stated(strategy: str) -> None:
    chain = policy("b", {"agent": "a", "priority": -1}, "a", strategy=strategy)
    assert keys(order(chain, "s")) == ["a", "b", "a#2"]
    assert keys(order(chain, "s", masked={"b"})) == ["a", "a#2"]


def test_weighted_draws_by_weight_and_repeats_for_the_same_step() -> None:
    chain = policy({"agent": "a", "weight": 3}, "b", "c", strategy="weighted")
    firsts = Counter(order(chain, f"step-{i}")[0].key for i in range(2000))
    assert firsts["a"] / 2000 == pytest.approx(3 / 5, abs=0.05)
    assert firsts["b"] / 2000 == pytest.approx(1 / 5, abs=0.05)
    rest = [order(chain, f"step-{i}") for i in range(2000)]
    seconds = Counter(found[1].key for found in rest if found[0].key == "b")
    assert seconds["a"] / seconds.total() == pytest.approx(3 / 4, abs=0.07)
    assert order(chain, "s") == order(chain, "s")
    assert all(set(keys(found)) == {"a", "b", "c"} for found in rest)


def test_weights_choose_inside_a_priority_only() -> None:
    chain = policy({"agent": "late", "weight": 1000, "priority": 1}, "a", "b", strategy="weighted")
    assert {order(chain, str(i))[2].key for i in range(50)} == {"late"}


def test_the_seed_changes_the_draw() -> None:
    chains = [policy("a", "b", "c", strategy="weighted", seed=str(seed)) for seed in range(20)]
    assert len({tuple(keys(order(chain, "s"))) for chain in chains}) > 1


def test_adaptive_prefers_what_served_well_and_leaves_out_the_masked() -> None:
    chain = policy("bad", "good", strategy="adaptive")
    arms = {"bad": Arm(Memory(5, 5, 50)), "good": Arm(Memory(48, 48, 50))}
    firsts = Counter(order(chain, str(i), arms=arms)[0].key for i in range(200))
    assert firsts["good"] > 195
    assert keys(order(chain, "s", arms=arms, masked={"good"})) == ["bad"]
    unknown = Counter(order(chain, str(i))[0].key for i in range(200))
    assert min(unknown.values()) > 60


def test_conditions_on_error_kinds() -> None:
    chain = policy("a", {"agent": "slow", "on": ["timeout", "unavailable"]}, "b")
    ordered = order(chain, "s")
    assert keys(eligible(ordered)) == ["a", "b"]
    assert keys(eligible(ordered, tried={"a"}, failures=["refused"])) == ["b"]
    assert keys(eligible(ordered, tried={"a"}, failures=["timeout"])) == ["slow", "b"]
    assert keys(eligible(ordered, tried={"a", "b"}, failures=["timeout", "refused"])) == ["slow"]
    assert eligible(ordered, tried={"a", "b"}, failures=["refused"]) == []
