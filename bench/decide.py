"""CPU of one decision: 100 ballots under every rule, final and with one or ten ballots out."""

from __future__ import annotations

import json
import random
import time
from statistics import median
from typing import Any

from agents.patterns.vote import ballot, verdict
from celery_agents.contracts.vote import Ballot, VotePolicy

BALLOTS = 100
PROFILES = 20
OPTIONS = (3, 5, 10)
OUT = (0, 1, 10)
RULES: tuple[Any, ...] = (
    "plurality",
    "weighted",
    "majority",
    {"kind": "supermajority", "threshold": "3/4"},
    "unanimous",
    "instant_runoff",
    "borda",
    "schulze",
    "approval",
)


def main() -> None:
    """Time the verdict of every rule and print a table."""
    print(f"CPU milliseconds of one verdict on {BALLOTS} ballots: median (maximum)")
    print(f"{'rule':<16}{'options':>8}" + "".join(f"{f'{n} out':>18}" for n in OUT))
    worst = 0.0
    for options in OPTIONS:
        for rule in RULES:
            times = {n: _times(rule, options, n) for n in OUT}
            worst = max(worst, *(median(t) for t in times.values()))
            cells = "".join(f"{median(t):>10.2f} ({max(t):.2f})" for t in times.values())
            name = rule if isinstance(rule, str) else rule["kind"]
            print(f"{name:<16}{options:>8}{cells}")
    print(json.dumps({"bench": "decide", "worst_median_ms": round(worst, 2)}))


def _times(rule: Any, options: int, out: int) -> list[float]:
    choices = [f"option {n}" for n in range(options)]
    rng = random.Random(options)
    voters = [{"agent": f"v{n}", "weight": rng.choice([1, "1/2", "0.7"])} for n in range(BALLOTS)]
    policy = VotePolicy.model_validate(
        {"voters": voters, "rule": rule, "choices": choices, "quorum": "1/2"}
    )
    found: list[float] = []
    for seed in range(PROFILES):
        ballots = _profile(policy, choices, random.Random(seed))[: BALLOTS - out]
        began = time.process_time()
        verdict(policy, ballots, policy.voters[BALLOTS - out :])
        found.append(1000 * (time.process_time() - began))
    return found


def _profile(policy: VotePolicy, choices: list[str], rng: random.Random) -> list[Ballot]:
    def answer() -> Any:
        match policy.rule.ballot:
            case "option":
                return rng.choice(choices)
            case "ranking":
                return rng.sample(choices, len(choices))
            case "approvals":
                return rng.sample(choices, rng.randint(1, len(choices)))

    return [ballot(policy, voter, answer()) for voter in policy.voters]
