"""``agents.clean``: deletion of what is old."""

from __future__ import annotations

from celery import shared_task

from app.execution.runtime import Runtime
from app.execution.tick import TickTask
from app.maintenance.retention import clean_all
from celery_agents import names


@shared_task(base=TickTask, name=names.CLEAN)
def clean(runtime: Runtime) -> dict[str, int]:
    """Delete what is older than it is kept; return rows by table."""
    return dict(clean_all(runtime.journal.engine, runtime.intake, runtime.settings))
