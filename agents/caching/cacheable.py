"""Calls whose answers may be kept: what an answer depends on, and whether it is whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from agents.values import digest
from celery_agents.contracts.caching import CachePolicy
from celery_agents.contracts.outcome import Answer

#: Dollars that a second of work is worth, beside what it cost: about what the machine does. Of
#: answers that cost no dollars, those are kept that took long.
USD_A_SECOND = 1e-5


def _whole(_: Answer) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Caching:
    """How the answers of an agent are kept, and the name under which that is told."""

    name: str
    policy: CachePolicy

    def of(self, about: Any, good: Callable[[Answer], bool] = _whole) -> Cacheable:
        """A call that is ``about`` this; an answer that is not ``good`` is not kept."""
        return Cacheable(self, about, good)


@dataclass(frozen=True, slots=True)
class Cacheable:
    """A call whose answer may be known, by all that it depends on, as JSON."""

    caching: Caching
    about: Any
    good: Callable[[Answer], bool]

    def key(self, tenant: str) -> str:
        """The key of its answer, for whoever asks."""
        policy = self.caching.policy
        whose = None if policy.scope == "all" else tenant
        return digest([policy.version, whose, self.about])


def worth_usd(answer: Answer, elapsed_s: float) -> float:
    """The worth of having an answer again: its price, and the time that it took."""
    return (answer.usage.cost_usd or 0.0) + elapsed_s * USD_A_SECOND
