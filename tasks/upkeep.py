"""``agents.clean``: what is old goes."""

from __future__ import annotations

from typing import Any

from celery import shared_task

from app.execution.runtime import runtime_of
from app.journal.tables.ticks import take_slot
from app.maintenance.retention import clean_all
from celery_agents import names


@shared_task(name=names.CLEAN, bind=True)
def clean(self: Any, every_s: float | None = None) -> dict[str, int] | None:
    """Delete what is older than it is kept; rows by table.

    With ``every_s`` (from beat) only the first message of a turn works; None for the others.
    """
    runtime = runtime_of(self.app, self.request.hostname)
    journal = runtime.journal
    if every_s is not None and not journal.transaction(
        lambda c: take_slot(c, self.name, every_s, journal.me.id)
    ):
        return None
    return dict(clean_all(journal.engine, runtime.intake, runtime.settings))
