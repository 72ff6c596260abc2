"""One agent's turn in this worker: who answers, and whether it may be called at all."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Sequence
from typing import Literal

from agents.base import Answer, Turn
from agents.catalog.entries import CeleryEntry, HttpEntry, ModelEntry
from agents.catalog.probes import provider_of
from agents.catalog.registry import Registered, Registry
from agents.policies.breaker import BreakerPolicy, Verdict, verdict
from app.admission.breaker import Breakers, Change, Switch
from app.admission.health import HealthView
from app.concurrency.fibers import arrival
from app.execution.context import Step
from app.journal.steps.finishes import event
from celery_agents.contracts.fallback import Candidate
from celery_agents.contracts.outcome import ErrorInfo, Outcome, State
from celery_agents.errors import (
    AgentsError,
    BreakerOpenError,
    DeadlineExceededError,
    RetryableError,
)

log = logging.getLogger(__name__)

#: A provider serves many agents: it takes more to give it up, and only that it is down counts.
PROVIDER = BreakerPolicy(failures=20, min_calls=50, counts=("unavailable",))
_DEFAULT = BreakerPolicy()
WhenOpen = Literal["wait", "fail"] | tuple[str, ...]


class Turns:
    """Asks agents, spares those whose breaker is open, and lets backups answer for them."""

    def __init__(self, registry: Registry, breakers: Breakers, health: HealthView) -> None:
        self._registry = registry
        self._breakers = breakers
        self._health = health

    async def take(
        self, name: str, turn: Turn, step: Step, *, when_open: WhenOpen = "wait"
    ) -> Answer | Outcome:
        """The answer of the agent of that name, or an outcome that names its backup.

        Raises:
            RetryableError: it failed for now, or refused: its breaker is open, it answered 429.
                Where ``when_open`` says so a refusal is an outcome, so that the step is not tried
                again.
        """
        agent = self._registry.get(name)
        backup = self._backup(agent, step)
        if backup is not None:
            sick = await asyncio.to_thread(self._health.unhealthy)
            if _target(agent) in sick and _target(backup) not in sick:
                return await self._instead(agent, backup, turn, step, "unhealthy")
        try:
            return await self._guarded(agent, turn, step)
        except RetryableError as error:
            if isinstance(error, BreakerOpenError) and backup is not None:
                return await self._instead(agent, backup, turn, step, "breaker_open")
            if not error.attempted and _fails_at(when_open, error.kind):
                return Outcome(state=State.FAILED, error=ErrorInfo.of(error), usage=step.spent)
            raise

    def masked(self, candidates: Iterable[Candidate]) -> set[str]:
        """Keys of the candidates that would not be called now, by one look for all of them."""
        known = {c.key: self._registry.find(c.agent) for c in candidates}
        switches = {key: switches_of(agent) for key, agent in known.items() if agent is not None}
        asked = {s.name: s for many in switches.values() for s in many}
        refusing = self._breakers.refusing(list(asked.values()))
        return {key for key, many in switches.items() if {s.name for s in many} & refusing}

    def _backup(self, agent: Registered, step: Step) -> Registered | None:
        """Nobody else goes on with an effect that an earlier try may have had."""
        begun = agent.effects == "effect" and step.tries > 1
        return None if begun else self._registry.backup_of(agent)

    async def _instead(
        self, agent: Registered, backup: Registered, turn: Turn, step: Step, why: str
    ) -> Outcome:
        data = {"from": agent.name, "to": backup.name, "why": why}
        await asyncio.to_thread(_note, step, "failover", [data])
        answer = await self._guarded(backup, turn, step)
        return Outcome(
            state=State.SUCCEEDED, value=answer.value, usage=answer.usage, agent=backup.name
        )

    async def _guarded(self, agent: Registered, turn: Turn, step: Step) -> Answer:
        """Its answer; breakers are asked before, and told how it went."""
        switches = switches_of(agent)
        if not switches:
            return await agent.backend.answer(turn, step)
        call = f"{step.step_id}/{step.claim.token}"
        probe = await self._ask(switches, call, step)
        began = time.monotonic()
        error: ErrorInfo | None = None
        said: list[Verdict] | None = None
        try:
            return await agent.backend.answer(turn, step)
        except asyncio.CancelledError:
            if step.asked_to_stop:
                said = [Verdict.NONE] * len(switches)
            error = ErrorInfo.of(DeadlineExceededError())
            raise
        except Exception as failure:
            error = ErrorInfo.of(failure)
            raise
        finally:
            elapsed_s = time.monotonic() - began
            said = said or [verdict(_policy(s), error, elapsed_s=elapsed_s) for s in switches]
            told = self._breakers.tell(switches, call, said)
            # What may change a breaker is waited for: the change is an event of this step, which
            # people look for once it has ended, and whoever is asked next is to meet it. All else
            # changes none (see ``Breakers.tell``), so the answer need not wait for it; it is ahead
            # of what this process asks next, and lost with the process it would be missed by none.
            if probe or Verdict.BAD in said:
                await _changed(step, await arrival(told))

    async def _ask(self, switches: Sequence[Switch], call: str, step: Step) -> bool:
        """Whether the call, which may be made, is a probe."""
        try:
            admission = await arrival(self._breakers.ask(switches, call))
            await _changed(step, admission.changes)
        except asyncio.CancelledError:  # its place among the probes, if it got one, is free again
            self._breakers.tell(switches, call, [Verdict.NONE] * len(switches))
            raise
        if admission.refused_by is not None:
            raise BreakerOpenError(
                f"The breaker of {admission.refused_by} is open: it failed too often.",
                {"retry_after_s": admission.wait_s, "breaker": admission.refused_by},
            )
        return admission.probe


def switches_of(agent: Registered) -> list[Switch]:
    """The breakers before an agent: its own, and its provider's. None for code in this process."""
    entry = agent.entry
    if entry is None or entry.breaker is False:
        return []
    outside = isinstance(entry, HttpEntry | ModelEntry | CeleryEntry)
    policy = entry.breaker or (_DEFAULT if outside else None)
    if policy is None:
        return []
    own = Switch(_target(agent), policy)
    provider = provider_of(entry)
    return [own] if provider is None else [own, Switch(provider, PROVIDER)]


def _fails_at(when_open: WhenOpen, kind: str) -> bool:
    return when_open == "fail" if isinstance(when_open, str) else kind in when_open


def _policy(switch: Switch) -> BreakerPolicy:
    assert isinstance(switch.policy, BreakerPolicy)
    return switch.policy


def _target(agent: Registered) -> str:
    return f"agent:{agent.name}"


async def _changed(step: Step, changes: Sequence[Change]) -> None:
    if changes:
        told = [{"breaker": c.name, "from": c.before, "to": c.after} for c in changes]
        await asyncio.to_thread(_note, step, "breaker", told)


def _note(step: Step, kind: str, told: Sequence[dict[str, str]]) -> None:
    """Events of the step. They are for people, so a journal that is away fails nothing."""
    try:
        step.runtime.journal.transaction(
            lambda c: [c.execute(event(step.run_id, step.step_id, kind, dict(d))) for d in told]
        )
    except AgentsError as error:
        log.warning("Events of %s were not written: %s", step.step_id, error)
