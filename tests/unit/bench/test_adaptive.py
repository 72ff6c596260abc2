"""The adaptive fallback in simulated chains, in short; all of it is ``./run bench adaptive``."""

from __future__ import annotations

import random

import pytest

from bench.adaptive import OURS, SCENARIOS, Scenario, gain, gains
from bench.policies import POLICIES
from tests.support.drawn import costly

SEEDS = range(costly(3, part=3))
by_name = {scenario.name: scenario for scenario in SCENARIOS}


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda one: one.name)
def test_it_gains_nearly_what_a_seer_would(scenario: Scenario) -> None:
    assert gains(OURS, scenario, SEEDS) >= 0.94  # of a few runs; of twenty it is above 0.95


@pytest.mark.parametrize("name", ["ten arms", "all bad"])
def test_one_half_life_for_all_forgets_too_much(name: str) -> None:
    assert gains("half-life 30", by_name[name], SEEDS) < 0.9


@pytest.mark.parametrize("name", ["death, return", "latency", "late bloomer"])
def test_it_is_hardly_behind_any_other_policy(name: str) -> None:
    found = {policy: gains(policy, by_name[name], SEEDS) for policy in POLICIES}
    assert found.pop(OURS) >= max(found.values()) - 0.03


@pytest.mark.parametrize("policy", POLICIES)
def test_policies_learn_who_is_best(policy: str) -> None:
    scenario = by_name["both, defaults"]
    learner = POLICIES[policy](3, random.Random(1))
    assert sorted(learner.order(0)) == [0, 1, 2]
    assert 0.8 < gain(learner, scenario, seed=1, requests=500) < 1
