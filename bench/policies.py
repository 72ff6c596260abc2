"""Ways to learn which candidate of a chain is best, to hold ours against."""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from agents.patterns.fallback.adaptive import Arm, draw, learn
from celery_agents.contracts.fallback import Adaptive

_UNTRIED = math.inf
_FORGOTTEN = 1e-9


class Policy(Protocol):
    """Orders candidates, and learns from attempts at them."""

    def order(self, now: int) -> list[int]:
        """The candidates in the order in which they are tried at request ``now``."""
        ...

    def learn(self, now: int, candidate: int, earned: float) -> None:
        """An attempt at request ``now`` earned this, from 0 to 1."""
        ...


class Ours:
    """The strategy ``adaptive`` with its defaults."""

    def __init__(self, arms: int, rng: random.Random) -> None:
        self._arms = {str(arm): Arm() for arm in range(arms)}
        self._rng = rng
        self._half_life = Adaptive().half_life

    def order(self, now: int) -> list[int]:
        """By a draw from what is known."""
        luck = draw(self._arms, now=now, half_life=self._half_life, rng=self._rng)
        return _best_first([*luck.values()])

    def learn(self, now: int, candidate: int, earned: float) -> None:
        """As the journal's memory does."""
        about: Any = {"now": now, "half_life": self._half_life}
        self._arms = learn(self._arms, str(candidate), earned, **about)


class _Counting:
    """Sums of rewards and attempts; an order by an index of them."""

    def __init__(self, arms: int, rng: random.Random) -> None:
        self.rng = rng
        self.earned = [0.0] * arms
        self.tried = [0.0] * arms

    def order(self, now: int) -> list[int]:
        self.age(now)
        known = [n > _FORGOTTEN for n in self.tried]
        return _best_first([self.index(a, now) if k else _UNTRIED for a, k in enumerate(known)])

    def learn(self, now: int, candidate: int, earned: float) -> None:
        self.age(now)
        self.earned[candidate] += earned
        self.tried[candidate] += 1

    def age(self, now: int) -> None:
        """Nothing is forgotten."""

    def mean(self, arm: int) -> float:
        return self.earned[arm] / self.tried[arm]

    def index(self, arm: int, now: int) -> float:  # noqa: ARG002
        return self.mean(arm)


class Fixed(_Counting):
    """Thompson sampling with one half-life for all: what ``adaptive`` was with 30."""

    half_life = 30.0

    def __init__(self, arms: int, rng: random.Random) -> None:
        super().__init__(arms, rng)
        self._at = 0

    def age(self, now: int) -> None:
        """All candidates' sums decay alike."""
        kept, self._at = 0.5 ** ((now - self._at) / self.half_life), now
        self.earned = [kept * one for one in self.earned]
        self.tried = [kept * one for one in self.tried]

    def index(self, arm: int, now: int) -> float:  # noqa: ARG002
        """A draw from the Beta posterior of a coin."""
        failed = max(self.tried[arm] - self.earned[arm], 0.0)
        return self.rng.betavariate(1 + self.earned[arm], 1 + failed)


class Ucb1(_Counting):
    """P. Auer, N. Cesa-Bianchi, P. Fischer, "Finite-time Analysis of the Multiarmed Bandit"."""

    def index(self, arm: int, now: int) -> float:  # noqa: ARG002
        """The mean and a bound that grows with the logarithm of all attempts."""
        return self.mean(arm) + math.sqrt(2 * math.log(sum(self.tried)) / self.tried[arm])


class Discounted(Fixed):
    """D-UCB of A. Garivier, E. Moulines, "On Upper-Confidence Bound Policies", ALT 2011."""

    _XI = 0.5

    def index(self, arm: int, now: int) -> float:  # noqa: ARG002
        """The discounted mean and its padding."""
        attempts = max(math.log(sum(self.tried)), 0.0)
        return self.mean(arm) + 2 * math.sqrt(self._XI * attempts / self.tried[arm])


class Windowed(_Counting):
    """SW-UCB of the same authors: attempts of the last ``window`` requests alone."""

    window = 200
    _XI = 0.6

    def __init__(self, arms: int, rng: random.Random) -> None:
        super().__init__(arms, rng)
        self._kept: deque[tuple[int, int, float]] = deque()

    def learn(self, now: int, candidate: int, earned: float) -> None:
        """Kept until the window has passed."""
        super().learn(now, candidate, earned)
        self._kept.append((now, candidate, earned))

    def age(self, now: int) -> None:
        """Attempts before the window no longer count."""
        while self._kept and self._kept[0][0] <= now - self.window:
            _, candidate, earned = self._kept.popleft()
            self.earned[candidate] -= earned
            self.tried[candidate] -= 1

    def index(self, arm: int, now: int) -> float:
        """The mean of the window and its padding."""
        bound = self._XI * math.log(min(now, self.window) + 1) / self.tried[arm]
        return self.mean(arm) + math.sqrt(bound)


class Greedy(_Counting):
    """The best mean so far, and with probability ``epsilon`` any other first."""

    epsilon = 0.1

    def order(self, now: int) -> list[int]:
        """Now and then somebody at random is tried first."""
        ordered = super().order(now)
        if self.rng.random() < self.epsilon:
            first = self.rng.choice(ordered)
            ordered.remove(first)
            ordered.insert(0, first)
        return ordered


def _best_first(values: list[float]) -> list[int]:
    return sorted(range(len(values)), key=lambda arm: -values[arm])


#: By name: each with the settings that its authors give, or two of which one suits a scenario.
POLICIES: dict[str, Callable[[int, random.Random], Policy]] = {
    "adaptive": Ours,
    "half-life 30": Fixed,
    "half-life 200": type("_", (Fixed,), {"half_life": 200.0}),
    "UCB1": Ucb1,
    "D-UCB 70": type("_", (Discounted,), {"half_life": 70.0}),
    "D-UCB 350": type("_", (Discounted,), {"half_life": 350.0}),
    "SW-UCB 200": Windowed,
    "SW-UCB 500": type("_", (Windowed,), {"window": 500}),
    "greedy 0.1": Greedy,
    "greedy 0.05": type("_", (Greedy,), {"epsilon": 0.05}),
}
