"""The order in which a router asks its deployments: pure functions of what is known of them.

A deployment is an agent, or one key of it. Where a router is sticky, those that are as good as each
other are ordered by rendezvous hashing (D. Thaler, C. Ravishankar, "Using Name-Based Mappings to
Increase Hit Rates", IEEE/ACM Transactions on Networking 6(1), 1998) of the session or the run: so
what belongs together meets the same provider's cache, and one that is gone moves its own share
alone.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Self

from pydantic import ConfigDict, Field

from agents.patterns.fallback import adaptive, hedge
from agents.patterns.fallback.adaptive import Arm
from agents.patterns.fallback.hedge import Digest
from agents.patterns.fallback.learned import CandidateRecord
from celery_agents.contracts.base import Contract
from celery_agents.contracts.fallback import Adaptive

By = Literal["cost", "latency", "load", "turns", "order", "learned"]
#: What a turn may need and an agent may lack: a model, as its entry says, and others by their kind.
Lacking = Literal["images", "files", "tools", "schema", "stream"]
Capability = Literal[Lacking, "messages"]
#: What costs or takes so many times the best is as good as that.
_SAME_COST, _SAME_LATENCY = 1.05, 1.25
#: By latency, one in so many tries one that was slow: else that would stay so for ever. What stays
#: together tries it together, for so many turns of the router: to move at each would lose what the
#: provider has kept of it. After so many latencies one counts half.
_TRIED_ONE_IN, _TRIED_FOR, _HALF_LIFE = 20, 750, 50.0


@dataclass(frozen=True, slots=True)
class RoutePolicy:
    """How a router chooses."""

    by: By = "load"
    sticky: bool = True
    adaptive: Adaptive = field(default_factory=Adaptive)


class ServedTurn(NamedTuple):
    """A turn that a deployment was asked for, and how it went."""

    deployment: str
    succeeded: bool
    latency_s: float
    cost_usd: float | None = None


class Experience(Contract):
    """The lessons of one router. What a later version has learned beside is left out."""

    model_config = ConfigDict(extra="ignore")

    turns: int = 0
    deployments: dict[str, CandidateRecord] = Field(default_factory=dict)

    @classmethod
    def read(cls, data: dict[str, Any]) -> Self:
        """Read lessons from their JSON object."""
        return cls.model_validate(data)

    def of(self, deployment: str) -> CandidateRecord:
        """The record of a deployment."""
        return self.deployments.get(deployment) or CandidateRecord()

    def latency_s(self, deployment: str) -> float | None:
        """The latency that half of its newest answers had no more than; None: it has none."""
        return hedge.quantile(Digest(self.of(deployment).latencies), 0.5)

    def after(self, served: ServedTurn, settings: Adaptive) -> Self:
        """Return the lessons after one more turn. A failure tells nothing of latencies."""
        records = dict(self.deployments)
        known = self.of(served.deployment)
        if served.succeeded:
            seen = Digest(known.latencies)
            seen = hedge.observe(seen, served.latency_s, half_life=_HALF_LIFE)
            known = known.model_copy(update={"latencies": dict(seen.weights)})
        records[served.deployment] = known
        arms = adaptive.learn(
            {name: record.arm for name, record in records.items()},
            served.deployment,
            adaptive.reward(
                settings,
                succeeded=served.succeeded,
                latency_s=served.latency_s,
                cost_usd=served.cost_usd,
            ),
            now=self.turns,
            half_life=settings.half_life,
        )
        records = {name: records[name].with_arm(arm) for name, arm in arms.items()}
        return self.model_copy(update={"turns": self.turns + 1, "deployments": records})


@dataclass(frozen=True, slots=True)
class Asking:
    """The turn that is to be placed: of which step, run and session."""

    step_id: str
    run_id: str
    session: str | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """Deployments, the first choice first.

    By ``load`` and ``turns`` the first one is found where it is reserved, at that moment.
    """

    names: tuple[str, ...]
    there: Literal["load", "turns", "order"] = "order"


def ordered(
    policy: RoutePolicy,
    names: Sequence[str],
    asking: Asking,
    *,
    costs: Mapping[str, int | None] | None = None,
    experience: Experience | None = None,
) -> Order:
    """The order of deployments for one turn; ``costs`` of unknown ones are above all others."""
    known = experience or Experience()
    key = (asking.session or asking.run_id) if policy.sticky else asking.step_id
    match policy.by:
        case "order":
            return Order(tuple(names))
        case "load" | "turns" if policy.sticky and asking.session is not None:
            return Order(tuple(_by_hash(names, key)))
        case "load" | "turns":
            return Order(tuple(names), policy.by)
        case "cost":
            told = costs or {}
            scores = {n: math.inf if (c := told.get(n)) is None else float(c) for n in names}
            return Order(tuple(_grouped(scores, _SAME_COST, key)))
        case "latency":
            return Order(tuple(_by_latency(names, known, key)))
        case "learned":
            arms = {name: known.of(name).arm if known.turns else Arm() for name in names}
            rng = random.Random(key)  # noqa: S311 - repeatable, guards nothing
            half_life = policy.adaptive.half_life
            luck = adaptive.draw(arms, now=known.turns, half_life=half_life, rng=rng)
            return Order(tuple(sorted(names, key=lambda name: -luck[name])))


def weight_of(name: str, key: str) -> int:
    """The weight of a name for a key, as good as random: the highest one is chosen."""
    told = hashlib.blake2b(f"{key}\0{name}".encode("utf-8", "surrogatepass"), digest_size=8)
    return int.from_bytes(told.digest())


def _by_hash(names: Sequence[str], key: str) -> list[str]:
    return sorted(names, key=lambda name: -weight_of(name, key))


def _by_latency(names: Sequence[str], known: Experience, key: str) -> list[str]:
    """Quick ones first; one of which nothing is known is tried before others."""
    scores = {name: known.latency_s(name) or 0.0 for name in names}
    found = list(_grouped(scores, _SAME_LATENCY, key))
    slow = [name for name in found if scores[name] > min(scores.values()) * _SAME_LATENCY]
    if slow and weight_of(f"tried {known.turns // _TRIED_FOR}", key) % _TRIED_ONE_IN == 0:
        tried = _by_hash(slow, key)[0]
        found.remove(tried)
        found.insert(0, tried)
    return found


def _grouped(scores: dict[str, float], same: float, key: str) -> list[str]:
    """The best first; those that are as good as it is by their hash."""
    left, found = dict(scores), list[str]()
    while left:
        best = min(left.values())
        group = [name for name, score in left.items() if score <= best * same]
        found += _by_hash(group, key)
        left = {name: score for name, score in left.items() if score > best * same}
    return found
