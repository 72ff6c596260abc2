"""The adaptive fallback against a seer and against other ways to learn, in simulated chains.

A policy orders a chain's candidates at each request; they are tried until one succeeds, and it
learns from each attempt. Its gain is the expected reward of whom it tried first, as a share of what
whoever knows all candidates' present means would have gained.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import NamedTuple

from agents.patterns.fallback.adaptive import reward
from bench.policies import POLICIES, Policy
from celery_agents.contracts.fallback import Adaptive

REQUESTS = 2_000
SEEDS = 20
#: Latencies are log-normal with this deviation.
_SPREAD = 0.4
OURS = "adaptive"
_DEFAULTS = Adaptive()


class Candidate(NamedTuple):
    """How one candidate does at a moment: how often it succeeds, in what time, for how much."""

    succeeds: float
    latency_s: float = 1.0
    cost_usd: float = 0.005


@dataclass(frozen=True)
class Scenario:
    """A chain: its candidates at a share (0 to 1) of all requests, and what is wanted of them."""

    name: str
    at: Callable[[float], list[Candidate]]
    settings: Adaptive = _DEFAULTS

    def means(self, done: float) -> list[float]:
        """Each candidate's mean reward."""
        return [c.succeeds * self._earned(c.latency_s, c.cost_usd) for c in self.at(done)]

    def attempt(self, done: float, candidate: int, rng: random.Random) -> float:
        """Try a candidate; return what that earns, 0 if it failed."""
        tried = self.at(done)[candidate]
        if rng.random() >= tried.succeeds:
            return 0.0
        return self._earned(tried.latency_s * math.exp(rng.gauss(0, _SPREAD)), tried.cost_usd)

    def _earned(self, latency_s: float, cost_usd: float) -> float:
        return reward(self.settings, succeeded=True, latency_s=latency_s, cost_usd=cost_usd)


def _all(*rates: float) -> list[Candidate]:
    return [Candidate(rate) for rate in rates]


def _drift(done: float) -> list[Candidate]:
    swing = 0.2 * math.sin(2 * math.pi * done)
    return _all(0.75 + swing, 0.75 - swing, 0.6)


def _slower(done: float) -> list[Candidate]:
    first = Candidate(0.97, latency_s=0.5 if done < 1 / 2 else 30)
    return [first, Candidate(0.96, latency_s=3), Candidate(0.95, latency_s=8)]


def _outage(done: float) -> list[Candidate]:
    return _all(0.03, 0.03, 0.03) if 1 / 3 <= done < 1 / 2 else _all(0.95, 0.8, 0.5)


_PRICES = [Candidate(0.97, 1, 0.05), Candidate(0.95, 1, 0.001), Candidate(0.96, 1, 0.01)]
_BOTH = [Candidate(0.98, 1, 0.03), Candidate(0.9, 6, 0.0005), Candidate(0.6, 0.3, 0.0001)]
SCENARIOS = (
    Scenario("slow drift", _drift),
    Scenario("sudden death", lambda x: _all(0.97 if x < 1 / 2 else 0.02, 0.85, 0.6)),
    Scenario("death, return", lambda x: _all(0.02 if 1 / 4 <= x < 1 / 2 else 0.97, 0.85, 0.6)),
    Scenario("all bad", lambda _: _all(0.15, 0.08, 0.05)),
    Scenario("all down once", _outage),
    Scenario("cost", lambda _: _PRICES, Adaptive(success=0.4, latency=0.1, cost=0.5)),
    Scenario("latency", _slower, Adaptive(success=0.5, latency=0.5, cost=0)),
    Scenario("both, defaults", lambda _: _BOTH),
    Scenario("ten arms", lambda _: _all(0.95, 0.8, 0.7, 0.6, 0.5, 0.5, 0.4, 0.3, 0.2, 0.1)),
    Scenario("late bloomer", lambda x: _all(0.8, 0.3 if x < 1 / 2 else 0.98, 0.5)),
    Scenario("flapping", lambda x: _all(*((0.95, 0.5) if int(8 * x) % 2 else (0.5, 0.95)), 0.4)),
)


def gain(policy: Policy, scenario: Scenario, seed: int, requests: int = REQUESTS) -> float:
    """The policy's gain in one run, as a share of the seer's."""
    rng = random.Random(seed)
    gained = possible = 0.0
    for now in range(requests):
        done = now / requests
        means = scenario.means(done)
        order = policy.order(now)
        gained += means[order[0]]
        possible += max(means)
        for candidate in order:
            earned = scenario.attempt(done, candidate, rng)
            policy.learn(now, candidate, earned)
            if earned:
                break
    return gained / possible


def gains(name: str, scenario: Scenario, seeds: Sequence[int] = range(SEEDS)) -> float:
    """The mean gain of a policy over runs."""
    arms = len(scenario.at(0))
    return mean(gain(POLICIES[name](arms, random.Random(-seed)), scenario, seed) for seed in seeds)


def main() -> None:
    """Play every policy in every scenario and print a table."""
    names = list(POLICIES)
    print(f"gain as a share of the seer's, {REQUESTS:,} requests, mean of {SEEDS} seeds")
    print(f"{'scenario':<15}" + "".join(f"{name:>14}" for name in names))
    shares, behind = [], []
    for scenario in SCENARIOS:
        found = {name: gains(name, scenario) for name in names}
        told = "".join(f"{found[name]:>14.3f}" for name in names)
        print(f"{scenario.name:<15}{told}", flush=True)
        shares.append(found.pop(OURS))
        behind.append(max(found.values()) - shares[-1])
    summary = {"bench": OURS, "least": round(min(shares), 3), "behind": round(max(behind), 3)}
    print(json.dumps(summary))
