"""Deleting old runs, in portions small enough to hold no lock for long."""

from __future__ import annotations

from sqlalchemy import Connection, delete, select

from app.journal.engine import now
from app.journal.journal import Journal
from app.journal.models import Event, Run, Step


def clean_journal(journal: Journal, older_than_s: float, batch: int) -> int:
    """Delete runs that finished so long ago, with their steps, calls, joins and events."""
    total = 0
    while deleted := journal.transaction(lambda c: _portion(c, older_than_s, batch)):
        total += deleted
    return total


def _portion(connection: Connection, older_than_s: float, batch: int) -> int:
    ids = list(
        connection.execute(
            select(Run.id)
            .where(Run.created_at < now() - older_than_s, Run.finished_at < now() - older_than_s)
            .order_by(Run.created_at)
            .limit(batch)
        ).scalars()
    )
    if ids:  # calls and joins go with their steps
        connection.execute(delete(Event).where(Event.run_id.in_(ids)))
        connection.execute(delete(Step).where(Step.run_id.in_(ids)))
        connection.execute(delete(Run).where(Run.id.in_(ids)))
    return len(ids)
