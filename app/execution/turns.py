"""One agent's turn in this worker: which agent answers, and whether it may be called at all."""

from __future__ import annotations

from collections.abc import Iterable

from agents.base import Turn
from agents.catalog.registry import Registry
from app.admission.breaker import Breakers
from app.admission.budgets import SharedBudgets
from app.admission.calls import switches_of
from app.admission.chain import chain
from app.admission.guard import Asked, GuardedStep, Reply, WhenOpen
from app.admission.health import HealthView
from app.admission.limits import SharedLimits
from celery_agents.contracts.fallback import Candidate


class Turns:
    """Asks agents through the guards."""

    def __init__(
        self,
        registry: Registry,
        breakers: Breakers,
        health: HealthView,
        limits: SharedLimits | None = None,
        budgets: SharedBudgets | None = None,
    ) -> None:
        self._registry = registry
        self._breakers = breakers
        self._ask = chain(registry, breakers, health, limits, budgets)

    async def take(
        self, name: str, turn: Turn, step: GuardedStep, *, when_open: WhenOpen = "wait"
    ) -> Reply:
        """Return the answer of the agent of that name, or an outcome that names its backup.

        Or the members that the step has to wait for, before the agent can go on.

        Raises:
            RetryableError: it failed for now, or refused: its breaker is open, it answered 429.
                Where ``when_open`` says so a refusal is an outcome, so that the step is not tried
                again.
        """
        return await self._ask(Asked(self._registry.get(name), turn, step, when_open))

    def masked(self, candidates: Iterable[Candidate]) -> set[str]:
        """Return the keys of candidates that would not be called now, by one look for all."""
        known = {c.key: self._registry.find(c.agent) for c in candidates}
        switches = {key: switches_of(agent) for key, agent in known.items() if agent is not None}
        asked = {s.name: s for many in switches.values() for s in many}
        refusing = self._breakers.refusing(list(asked.values()))
        return {key for key, many in switches.items() if {s.name for s in many} & refusing}
