"""``agents.clean``: deletion of what is old. ``agents.count``: statistics of what has ended."""

from __future__ import annotations

from celery import shared_task

from app.execution.runtime import Runtime
from app.execution.tick import TickTask
from app.journal.stores.statistics import Statistics
from app.maintenance.retention import clean_all
from celery_agents import names


@shared_task(base=TickTask, name=names.CLEAN)
def clean(runtime: Runtime) -> dict[str, int]:
    """Delete what is older than it is kept; return rows by table."""
    return dict(clean_all(runtime.journal.engine, runtime.intake, runtime.settings))


@shared_task(base=TickTask, name=names.COUNT)
def count(runtime: Runtime) -> int:
    """Count the runs that have ended since the last time; return how many portions of them."""
    return Statistics(runtime.journal.engine).count()
