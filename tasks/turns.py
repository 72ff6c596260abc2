"""The turns of this process: its agents, with the breakers and the health of all workers."""

from __future__ import annotations

from agents.turns import Turns
from app.breaker import Breakers
from app.health import STALE_INTERVALS, HealthView
from app.runtime import Runtime
from tasks.registry import registry_of


def turns_of(runtime: Runtime) -> Turns:
    """How agents are asked in this process."""
    registry, settings = registry_of(runtime), runtime.settings

    def make() -> Turns:
        health = HealthView(
            runtime.journal,
            fresh_s=STALE_INTERVALS * settings.health_interval_s,
            cache_s=settings.health_cache_s,
        )
        return Turns(registry, Breakers.connect(settings), health)

    return runtime.resource(Turns, make)
