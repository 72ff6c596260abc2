"""Small facts of runs for those who ask from outside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, select

from app.journal.schema.models import Step, table
from app.journal.schema.sealed import sealed_by
from celery_agents.errors import UnreadableValueError
from celery_agents.sealing import Seals, opened_payload

_S = table(Step).c


#: The task and the payload of a step, or why that cannot be read.
Told = tuple[str, dict[str, Any]] | UnreadableValueError


def asked(connection: Connection, ids: Sequence[str]) -> dict[str, Told]:
    """The task and the payload of those of these steps that have a row."""
    rows = connection.execute(select(_S.id, _S.task, _S.payload).where(_S.id.in_(ids)))
    seals = sealed_by(connection)
    return {row.id: _told(seals, row) for row in rows}


def _told(seals: Seals | None, row: Row[Any]) -> Told:
    try:
        return row.task, opened_payload(seals, row.payload, row.id)
    except UnreadableValueError as error:
        return error  # of this one alone: others were asked for, too


def owner(connection: Connection, step_id: str) -> str | None:
    """The tenant of a step; None when it has no row."""
    found: str | None = connection.execute(select(_S.tenant).where(_S.id == step_id)).scalar()
    return found
