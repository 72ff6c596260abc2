"""Learning which candidate serves best: Thompson sampling that forgets.

W. Thompson, "On the likelihood that one unknown probability exceeds another", 1933; decayed as
in V. Raj, S. Kalyani, "Taming Non-stationary Bandits: A Bayesian Approach", 2017. Rewards between
0 and 1 count as fractions of a success.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

from celery_agents.contracts.fallback import Adaptive


@dataclass(frozen=True, slots=True)
class Arm:
    """The record of one candidate: decayed sums of rewards and trials, as of request ``at``."""

    reward: float = 0.0
    trials: float = 0.0
    at: int = 0


def decayed(arm: Arm, *, now: int, half_life: float) -> Arm:
    """The arm as of request ``now`` of the chain; late news (``now`` before ``at``) is not aged."""
    if now <= arm.at:
        return arm
    kept = 0.5 ** ((now - arm.at) / half_life)
    return Arm(arm.reward * kept, arm.trials * kept, now)


def update(arm: Arm, reward: float, *, now: int, half_life: float) -> Arm:
    """The arm after an attempt at request ``now`` earned ``reward`` (0 to 1)."""
    if not 0 <= reward <= 1:
        raise ValueError(f"a reward is between 0 and 1, not {reward}")
    old = decayed(arm, now=now, half_life=half_life)
    return Arm(old.reward + reward, old.trials + 1, old.at)


def draw(
    arms: Mapping[str, Arm], *, now: int, half_life: float, rng: random.Random
) -> dict[str, float]:
    """A plausible reward rate for each arm, drawn from its Beta posterior; the highest goes first.

    The prior is uniform, so an arm that was not tried for long is tried again now and then.
    """
    luck: dict[str, float] = {}
    for key, arm in arms.items():
        known = decayed(arm, now=now, half_life=half_life)
        luck[key] = rng.betavariate(1 + known.reward, 1 + max(known.trials - known.reward, 0.0))
    return luck


def reward(
    settings: Adaptive, *, succeeded: bool, latency_s: float = 0.0, cost_usd: float | None = None
) -> float:
    """Return the worth of an attempt, from 0 to 1: nothing if it failed.

    Else the weighted mean of success (1), latency and cost, which fall hyperbolically from 1
    and are one half at their scale. An unknown cost counts as one at the scale.
    """
    if not succeeded:
        return 0.0
    fast = 1 / (1 + max(latency_s, 0.0) / settings.latency_scale_s)
    spent = settings.cost_scale_usd if cost_usd is None else max(cost_usd, 0.0)
    cheap = 1 / (1 + spent / settings.cost_scale_usd)
    total = settings.success + settings.latency + settings.cost
    return (settings.success + settings.latency * fast + settings.cost * cheap) / total
