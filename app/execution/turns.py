"""One agent's turn in this worker: which agent answers, and whether it may be called at all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from agents.base import Turn, Weighs
from agents.catalog.registry import Registered, Registry
from agents.patterns.fallback import pattern
from agents.plan import MemberState
from app.admission.breaker import Breakers
from app.admission.calls import switches_of
from app.admission.chain import chain
from app.admission.guard import Asked, GuardedStep, Reply, WhenOpen
from app.admission.health import HealthView
from app.admission.limits import SharedLimits
from app.admission.placing import Experiences
from app.concurrency.fibers import wait
from app.concurrency.loop import process_loop
from celery_agents.contracts.fallback import Candidate
from celery_agents.contracts.patterns import Fallback


class Turns:
    """Asks agents through the guards."""

    def __init__(
        self,
        registry: Registry,
        breakers: Breakers,
        health: HealthView,
        limits: SharedLimits | None = None,
        experiences: Experiences | None = None,
    ) -> None:
        self._registry = registry
        self._breakers = breakers
        self._ask = chain(registry, breakers, health, limits, experiences)

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

    def out(self, request: Fallback, members: Sequence[MemberState]) -> set[str]:
        """Return the keys of candidates that are not to be asked now.

        Their breakers are open or, once it was too long for one, so it is for them. It blocks.
        """
        refusing = self.masked(request.candidates)
        exceeded = pattern.exceeded(members)
        if exceeded is None:
            return refusing
        asked = {"input", "instructions", "answer_schema"}
        turn = Turn(**{name: getattr(request, name) for name in asked})
        small = self._too_small(request.candidates, turn, exceeded)
        return refusing | wait(process_loop().submit(small))

    async def _too_small(
        self, candidates: Iterable[Candidate], turn: Turn, context_tokens: int
    ) -> set[str]:
        """Return the keys of those who take no more than ``context_tokens``, or not this turn."""
        return {
            candidate.key
            for candidate in candidates
            if (agent := self._registry.find(candidate.agent)) is not None
            and await self._is_too_small(agent, turn, context_tokens)
        }

    async def _is_too_small(self, agent: Registered, turn: Turn, context_tokens: int) -> bool:
        """Return whether all that could answer take no more, as far as that is known."""
        for one in self._registry.deployments_of(agent):
            if not isinstance(one.backend, Weighs):
                return False
            weight = await one.backend.weigh(turn, priced=False)
            window = weight.context_tokens
            if weight.fits and (window is None or window > context_tokens):
                return False
        return True

    def masked(self, candidates: Iterable[Candidate]) -> set[str]:
        """Return the keys of candidates that would not be called now, by one look for all."""
        known = {c.key: self._registry.find(c.agent) for c in candidates}
        switches = {
            key: [switches_of(one) for one in self._registry.deployments_of(agent)]
            for key, agent in known.items()
            if agent is not None
        }
        asked = {s.name: s for each in switches.values() for many in each for s in many}
        refusing = self._breakers.refusing(list(asked.values()))
        return {
            key
            for key, each in switches.items()
            if all({s.name for s in many} & refusing for many in each)
        }
