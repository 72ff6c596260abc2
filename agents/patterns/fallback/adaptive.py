"""Learning which candidate serves best: Thompson sampling that finds its own forgetting.

W. Thompson, "On the likelihood that one unknown probability exceeds another", 1933. Each candidate
has two memories: all of its attempts, forgotten slowly (V. Raj, S. Kalyani, "Taming Non-stationary
Bandits: A Bayesian Approach", 2017), and the newest ones. Where the generalized likelihood ratio
tells the two apart, what came before the newest ones is forgotten at once (L. Besson, E. Kaufmann,
O. Maillard, J. Seznec, "Efficient Change-Point Detection for Tackling Piecewise-Stationary
Bandits", JMLR 23, 2022, which looks at every point in time and keeps every reward; here the one
point is some ten attempts ago, and six sums are kept).

Rewards are between 0 and 1 and mostly vary less than coins do, so one tells as much as several
tosses: the inverse of the dispersion of a binomial quasi-likelihood (R. Wedderburn,
"Quasi-likelihood functions", Biometrika 61, 1974). The figures below were chosen by what they earn
in ``./run bench adaptive``.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, replace

from celery_agents.contracts.fallback import Adaptive

#: After so many attempts at a candidate one counts half among its newest.
_RECENT = 10.0
#: The log-likelihood ratio above which they are of another kind than those before.
_CHANGED = 3.75
#: As so many attempts the newest ones count then: few enough to be soon outweighed by others.
_KEPT = 2.0
#: Draws are as narrow as if there had been so many times the attempts: less is tried out. A
#: posterior reshaped so gains more in O. Chapelle, L. Li, "An Empirical Evaluation of Thompson
#: Sampling", NIPS 2011, too.
_SURE = 2.0
#: The most tosses of a coin that one reward counts for, and the least variance that is believed.
_MOST_TOSSES = 50.0
_LEAST_VARIANCE = 1e-4


@dataclass(frozen=True, slots=True)
class Memory:
    """Decayed sums over attempts: of their rewards, of the rewards' squares, of the attempts."""

    reward: float = 0.0
    squares: float = 0.0
    trials: float = 0.0

    def times(self, kept: float) -> Memory:
        """The memory of which a share is kept."""
        return Memory(self.reward * kept, self.squares * kept, self.trials * kept)

    def least(self, trials: float) -> Memory:
        """The memory as of so many attempts, or fewer."""
        return self if self.trials <= trials else self.times(trials / self.trials)

    def plus(self, reward: float) -> Memory:
        """The memory with one more attempt."""
        return Memory(self.reward + reward, self.squares + reward * reward, self.trials + 1)

    def corrected(self, was: float, reward: float) -> Memory:
        """The memory as if an attempt that earned ``was`` had earned ``reward``."""
        return Memory(
            min(max(self.reward + reward - was, 0.0), self.trials),
            min(max(self.squares + reward * reward - was * was, 0.0), self.trials),
            self.trials,
        )

    def believed(self) -> tuple[float, float]:
        """The mean reward, and for how many tosses of a coin of that mean one attempt counts.

        As if a success and a failure had gone before: the prior is uniform.
        """
        mean = (self.reward + 1) / (self.trials + 2)
        variance = max((self.squares + 1) / (self.trials + 2) - mean * mean, _LEAST_VARIANCE)
        return mean, min(max(mean * (1 - mean) / variance, 1.0), _MOST_TOSSES)


@dataclass(frozen=True, slots=True)
class Arm:
    """The record of one candidate.

    ``known`` decays with the chain's requests and is as of request ``at``; ``recent`` decays with
    the candidate's own attempts.
    """

    known: Memory = Memory()
    recent: Memory = Memory()
    at: int = 0


def decayed(arm: Arm, *, now: int, half_life: float) -> Arm:
    """The arm as of request ``now`` of the chain; late news (``now`` before ``at``) is not aged."""
    if now <= arm.at:
        return arm
    return Arm(arm.known.times(0.5 ** ((now - arm.at) / half_life)), arm.recent, now)


def learn(
    arms: Mapping[str, Arm], key: str, reward: float, *, now: int, half_life: float
) -> dict[str, Arm]:
    """The arms after an attempt at one of them, at request ``now``, earned ``reward`` (0 to 1).

    Where it has become worse, somebody else is wanted, and what is known of the others may be old:
    of that little is kept.
    """
    if not 0 <= reward <= 1:
        raise ValueError(f"a reward is between 0 and 1, not {reward}")
    old = decayed(arms.get(key, Arm()), now=now, half_life=half_life)
    known = old.known.plus(reward)
    recent = old.recent.times(0.5 ** (1 / _RECENT)).plus(reward)
    after = dict(arms)
    if evidence_of_change(known, recent) > _CHANGED:
        if recent.reward * known.trials < known.reward * recent.trials:
            after = {
                other: replace(arm, known=arm.known.least(_KEPT)) for other, arm in arms.items()
            }
        known = recent.least(_KEPT)
    return {**after, key: Arm(known, recent, old.at)}


def correct(arm: Arm, was: float, reward: float) -> Arm:
    """The arm once an attempt at it, which had earned ``was``, turns out to be worth this.

    What the attempt has lost of its weight meanwhile is not known; on average corrections that
    come late stand for those that are still to come.
    """
    return Arm(arm.known.corrected(was, reward), arm.recent.corrected(was, reward), arm.at)


def evidence_of_change(known: Memory, recent: Memory) -> float:
    """Return the log-likelihood ratio of two means, of the newest attempts and of those before.

    0 where less than one attempt went before.
    """
    before = known.trials - recent.trials
    if before < 1:
        return 0.0
    _, tosses = known.believed()
    mean = _share(known.reward, known.trials)
    apart = recent.trials * _divergence(_share(recent.reward, recent.trials), mean)
    apart += before * _divergence(_share(known.reward - recent.reward, before), mean)
    return tosses * apart


def _share(part: float, whole: float) -> float:
    return min(max(part / whole, 0.0), 1.0)


def _divergence(p: float, q: float) -> float:
    """The Kullback-Leibler divergence of two coins."""
    q = min(max(q, 1e-9), 1 - 1e-9)
    heads = p * math.log(p / q) if p > 0 else 0.0
    return heads + ((1 - p) * math.log((1 - p) / (1 - q)) if p < 1 else 0.0)


def draw(
    arms: Mapping[str, Arm], *, now: int, half_life: float, rng: random.Random
) -> dict[str, float]:
    """A plausible mean reward for each arm, drawn from its posterior; the highest goes first.

    An arm that was not tried for long is tried again now and then.
    """
    luck: dict[str, float] = {}
    for key, arm in arms.items():
        known = decayed(arm, now=now, half_life=half_life).known
        mean, tosses = known.believed()
        weight = tosses * (_SURE * known.trials + 2)
        luck[key] = rng.betavariate(mean * weight, (1 - mean) * weight)
    return luck


def reward(
    settings: Adaptive,
    *,
    succeeded: bool,
    latency_s: float = 0.0,
    cost_usd: float | None = None,
    score: float = 1.0,
) -> float:
    """Return the worth of an attempt, from 0 to 1: nothing if it failed.

    Else the weighted mean of success (1, or the ``score`` that somebody gave), latency and cost,
    which fall hyperbolically from 1 and are one half at their scale. An unknown cost counts as one
    at the scale.
    """
    if not succeeded:
        return 0.0
    fast = 1 / (1 + max(latency_s, 0.0) / settings.latency_scale_s)
    spent = settings.cost_scale_usd if cost_usd is None else max(cost_usd, 0.0)
    cheap = 1 / (1 + spent / settings.cost_scale_usd)
    total = settings.success + settings.latency + settings.cost
    return (settings.success * score + settings.latency * fast + settings.cost * cheap) / total
