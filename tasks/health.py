"""``agents.probe``: checks of broker, journal, agents and providers."""

from __future__ import annotations

from celery import shared_task

from app.execution.runtime import Runtime
from app.execution.tick import TickTask
from app.maintenance.health import probe_all
from celery_agents import names


@shared_task(base=TickTask, name=names.PROBE)
def probe(runtime: Runtime) -> dict[str, str]:
    """Check everything once; return the states by target."""
    return probe_all(runtime)
