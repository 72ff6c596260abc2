from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.patterns.fallback.adaptive import Arm, Memory, decayed, draw, learn, reward
from celery_agents.contracts.fallback import Adaptive
from tests.support.drawn import costly

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
        order = sorted(luck, key=lambda one: -luck[one])
        shares.append(rates[order[0]] / max(rates.values()))
        for key in order:  # until one succeeds, as a chain does
            earned = float(rng.random() < rates[key])
            arms = learn(arms, key, earned, now=now, half_life=half_life)
            if earned:
                break
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
    runs = [simulate(after, seed) for seed in range(costly(40, part=4))]
    assert min(sum(run) for run in runs) >= 0.9 * REQUESTS
    recoveries = sorted(recovery(run) for run in runs)
    assert recoveries[len(runs) * 8 // 10] <= 150
    assert recoveries[-1] < REQUESTS
    # And it stays recovered: what is earned from request 150 after the shift on.
    left = REQUESTS - SHIFT - 150
    assert sum(sum(run[SHIFT + 150 :]) for run in runs) >= 0.95 * left * len(runs)


def test_an_arm_halves_in_its_half_life() -> None:
    arm = Arm(Memory(6, 5, 8), Memory(1, 1, 2), at=10)
    assert decayed(arm, now=40, half_life=30) == Arm(Memory(3, 2.5, 4), Memory(1, 1, 2), 40)
    assert decayed(arm, now=5, half_life=30) == arm  # a late message of another worker
    after = learn({"x": arm}, "x", 0.5, now=40, half_life=30)["x"]
    assert after.known == Memory(3.5, 2.75, 5)


def test_the_newest_attempts_decay_with_their_number() -> None:
    arm = Arm()
    for now in (1, 1000, 5000):  # however many requests went to others in between
        arm = learn({"x": arm}, "x", 1.0, now=now, half_life=1000)["x"]
    kept = 0.5**0.1
    assert arm.recent.trials == pytest.approx(1 + kept + kept**2)


def tried(*earned: float, arm: Arm | None = None) -> Arm:
    arm = arm or Arm()
    for one in earned:
        arm = learn({"x": arm}, "x", one, now=arm.at + 1, half_life=1000)["x"]
    return arm


@pytest.mark.parametrize(
    ("before", "after", "within"),
    [
        ([1.0] * 200, [0.0] * 8, 6),  # dies
        ([0.0] * 200, [1.0] * 8, 6),  # comes back
        ([0.95] * 200, [0.80] * 10, 10),  # succeeds still, but slower: such rewards vary little
        ([1.0, 0.0] * 100, [0.0] * 30, 22),  # a coin that falls on one side
    ],
)
def test_a_change_is_noticed_and_what_was_before_is_forgotten(
    before: list[float], after: list[float], within: int
) -> None:
    arm = tried(*before)
    assert arm.known.trials > 150
    weights = [(arm := tried(one, arm=arm)).known.trials for one in after]
    assert next(place for place, weight in enumerate(weights, 1) if weight <= 3) <= within
    mean, _ = arm.known.believed()
    assert abs(mean - after[-1]) < abs(mean - sum(before) / len(before))


@pytest.mark.parametrize(("before", "after", "kept"), [(1.0, 0.0, 2), (0.0, 1.0, 50)])
def test_others_are_looked_at_anew_when_one_becomes_worse(
    before: float, after: float, kept: float
) -> None:
    others = {"y": Arm(Memory(25, 25, 50))}
    arms = {"x": tried(*[before] * 200), **others}
    for now in range(201, 207):
        arms = learn(arms, "x", after, now=now, half_life=1000)
    assert arms["y"].known.trials == kept
    assert arms["y"].known.reward == kept / 2


def test_chance_is_seldom_taken_for_a_change() -> None:
    rng = random.Random(3)
    forgot = 0
    for rate in (0.05, 0.5, 0.95):
        for _ in range(20):
            arm = tried(*(float(rng.random() < rate) for _ in range(300)))
            forgot += arm.known.trials < 100
    assert forgot <= 12


def test_rewards_that_vary_little_tell_more_than_coins() -> None:
    mean, tosses = tried(*[0.9, 0.8] * 100).known.believed()
    assert mean == pytest.approx(0.85, abs=0.01)
    assert tosses > 10
    assert tried(*[1.0, 0.0] * 100).known.believed()[1] == pytest.approx(1)
    assert Memory().believed() == (0.5, 1.0)


def test_a_reward_outside_0_to_1_is_refused() -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        learn({}, "x", 1.5, now=1, half_life=30)


@given(st.lists(st.tuples(st.integers(0, 50), st.floats(0, 1)), max_size=60))
def test_sums_stay_possible_and_bounded(history: list[tuple[int, float]]) -> None:
    arm = Arm()
    for now, earned in history:
        arm = learn({"x": arm}, "x", earned, now=now, half_life=5)["x"]
        luck = draw({"x": arm}, now=now, half_life=5, rng=random.Random(1))
        assert 0 <= luck["x"] <= 1
        for sums in (arm.known, arm.recent):
            assert -1e-9 <= sums.squares <= sums.reward + 1e-9 <= sums.trials + 2e-9


def test_rewards() -> None:
    settings = Adaptive(success=2, latency=1, cost=1, latency_scale_s=2, cost_scale_usd=0.1)
    assert reward(settings, succeeded=False, latency_s=0.1, cost_usd=0) == 0
    assert reward(settings, succeeded=True, latency_s=0, cost_usd=0) == 1
    assert reward(settings, succeeded=True, latency_s=2, cost_usd=0.1) == 0.75
    assert reward(settings, succeeded=True, latency_s=2) == 0.75  # no price known
    slow = reward(settings, succeeded=True, latency_s=1e9, cost_usd=1e9)
    assert slow == pytest.approx(0.5)
