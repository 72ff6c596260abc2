"""Small facts of runs for those who ask from outside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, func, select

from app.journal.schema.models import Step, table
from app.journal.schema.sealed import sealed_by
from celery_agents.contracts.outcome import State
from celery_agents.sealing import opened_payload

_S = table(Step).c
#: States of which there is a small index: the others are not counted.
LIVE = {
    "ready": (_S.state == State.READY),
    "running": (_S.state == State.RUNNING),
}


def asked(connection: Connection, ids: Sequence[str]) -> dict[str, tuple[str, dict[str, Any]]]:
    """The task and the payload of those of these steps that have a row."""
    rows = connection.execute(select(_S.id, _S.task, _S.payload).where(_S.id.in_(ids)))
    seals = sealed_by(connection)
    return {row.id: (row.task, opened_payload(seals, row.payload, row.id)) for row in rows}


def owner(connection: Connection, step_id: str) -> str | None:
    """The tenant of a step; None when it has no row."""
    found: str | None = connection.execute(select(_S.tenant).where(_S.id == step_id)).scalar()
    return found


def live(connection: Connection, tenant: str | None) -> dict[str, int]:
    """How many steps are ready and running, of a tenant or of all."""
    whose = [] if tenant is None else [_S.tenant == tenant]
    counted = {
        state: select(func.count()).select_from(table(Step)).where(which, *whose)
        for state, which in LIVE.items()
    }
    return {state: connection.execute(query).scalar_one() for state, query in counted.items()}
