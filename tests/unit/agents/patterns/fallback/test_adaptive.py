from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.patterns.fallback.adaptive import Arm, decayed, draw, reward, update
from celery_agents.contracts.fallback import Adaptive

BEFORE = {"a": 0.95, "b": 0.80, "c": 0.50}
SHIFTS = [
    {"a": 0.50, "b": 0.80, "c": 0.95},
    {"a": 0.50, "b": 0.95, "c": 0.80},
    {"a": 0.80, "b": 0.50, "c": 0.95},
]
REQUESTS, SHIFT = 1_000, 500


def simulate(after: dict[str, float], seed: int) -> list[float]:
    """The success rate of the first choice at each request, as a share of the best one's."""
    rng = random.Random(seed)
    half_life = Adaptive().half_life
    arms = {key: Arm() for key in BEFORE}
    shares: list[float] = []
    for now in range(REQUESTS):
        rates = BEFORE if now < SHIFT else after
        luck = draw(arms, now=now, half_life=half_life, rng=rng)
        key = max(luck, key=lambda one: luck[one])
        earned = float(rng.random() < rates[key])
        arms[key] = update(arms[key], earned, now=now, half_life=half_life)
        shares.append(rates[key] / max(rates.values()))
    return shares


def recovery(shares: list[float], window: int = 20) -> int:
    """Requests after the shift until ``window`` in a row earned 90 % of the best on average."""
    for end in range(SHIFT + window, REQUESTS):
        if sum(shares[end - window : end]) >= 0.9 * window:
            return end - SHIFT
    return REQUESTS


@pytest.mark.parametrize("after", SHIFTS)
def test_it_earns_nine_tenths_of_the_best_and_recovers_from_a_shift(
    after: dict[str, float],
) -> None:
    runs = [simulate(after, seed) for seed in range(40)]
    assert min(sum(run) for run in runs) >= 0.9 * REQUESTS
    recoveries = sorted(recovery(run) for run in runs)
    assert recoveries[-1] <= 150
    # And it stays recovered: what is earned from request 150 after the shift on.
    assert min(sum(run[SHIFT + 150 :]) for run in runs) >= 0.9 * (REQUESTS - SHIFT - 150)


def test_an_arm_halves_in_its_half_life() -> None:
    arm = Arm(reward=6, trials=8, at=10)
    assert decayed(arm, now=40, half_life=30) == Arm(3, 4, 40)
    assert decayed(arm, now=5, half_life=30) == arm  # a late message of another worker
    assert update(arm, 0.5, now=40, half_life=30) == Arm(3.5, 5, 40)


def test_a_reward_outside_0_to_1_is_refused() -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        update(Arm(), 1.5, now=1, half_life=30)


@given(st.lists(st.tuples(st.integers(0, 50), st.floats(0, 1)), max_size=60))
def test_sums_stay_possible_and_bounded(history: list[tuple[int, float]]) -> None:
    arm = Arm()
    for now, earned in history:
        arm = update(arm, earned, now=now, half_life=5)
        luck = draw({"x": arm}, now=now, half_life=5, rng=random.Random(1))
        assert 0 <= luck["x"] <= 1
        assert -1e-9 <= arm.reward <= arm.trials + 1e-9


def test_rewards() -> None:
    settings = Adaptive(success=2, latency=1, cost=1, latency_scale_s=2, cost_scale_usd=0.1)
    assert reward(settings, succeeded=False, latency_s=0.1, cost_usd=0) == 0
    assert reward(settings, succeeded=True, latency_s=0, cost_usd=0) == 1
    assert reward(settings, succeeded=True, latency_s=2, cost_usd=0.1) == 0.75
    assert reward(settings, succeeded=True, latency_s=2) == 0.75  # no price known
    slow = reward(settings, succeeded=True, latency_s=1e9, cost_usd=1e9)
    assert slow == pytest.approx(0.5)
