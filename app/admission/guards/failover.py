"""Guards that let backups answer for agents that are unhealthy or refused."""

from __future__ import annotations

from dataclasses import replace

from agents.base import Answer
from agents.catalog.registry import Registered, Registry
from app.admission.guard import Asked, Next, Reply, forget_said
from app.admission.guards.health import HealthView
from app.concurrency.fibers import in_thread
from celery_agents.contracts.outcome import Outcome
from celery_agents.errors import BreakerOpenError


class HealthGuard:
    """Ask the backup of an unhealthy agent, unless the backup is unhealthy too."""

    def __init__(self, registry: Registry, health: HealthView) -> None:
        self._registry = registry
        self._health = health

    def concerns(self, agent: Registered) -> bool:
        """Return whether it has a backup."""
        return _has_backup(agent)

    async def __call__(self, asked: Asked, go_on: Next) -> Reply:
        backup = backup_of(self._registry, asked)
        if backup is not None:
            sick = await in_thread(self._health.unhealthy)
            if asked.agent.target in sick and backup.target not in sick:
                return await _instead(asked, backup, go_on, "unhealthy")
        return await go_on(asked)


class BackupGuard:
    """Ask the backup of an agent whose breaker is open."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def concerns(self, agent: Registered) -> bool:
        """Return whether it has a backup."""
        return _has_backup(agent)

    async def __call__(self, asked: Asked, go_on: Next) -> Reply:
        try:
            return await go_on(asked)
        except BreakerOpenError:
            backup = backup_of(self._registry, asked)
            if backup is None:
                raise
            return await _instead(asked, backup, go_on, "breaker_open")


def _has_backup(agent: Registered) -> bool:
    return agent.entry is not None and agent.entry.backup is not None


def backup_of(registry: Registry, asked: Asked) -> Registered | None:
    """The agent's backup. Nobody else goes on with an effect that an earlier try may have had."""
    begun = asked.agent.effects == "effect" and asked.step.tries > 1
    return None if begun or asked.instead else registry.backup_of(asked.agent)


async def _instead(asked: Asked, backup: Registered, go_on: Next, why: str) -> Reply:
    data = {"from": asked.agent.name, "to": backup.name, "why": why}
    await asked.step.note("failover", [data])
    forget_said(asked.step)
    asked.step.tell("restart", agent=backup.name)  # it may have said something already
    answer = await go_on(replace(asked, agent=backup, instead=True))
    if not isinstance(answer, Answer):
        return answer
    return Outcome.of(answer, agent=backup.name)
