"""The columns of a step that its wake consists of."""

from __future__ import annotations

from typing import Any

from app.journal.schema.models import Step, table
from app.journal.schema.rows import Wake


def wake_columns(of: Any) -> tuple[Any, ...]:
    """Return the columns that make a wake, of the table or an alias of it."""
    return (
        *(of.id, of.task, of.queue, of.priority, of.run_id, of.parent_id, of.agent),
        *(of.payload, of.envelope, of.tenant),
    )


WAKE_COLUMNS = wake_columns(table(Step).c)


def wake_of(row: Any) -> Wake:
    """Make the wake of a row of :func:`wake_columns`."""
    return Wake(*row)
