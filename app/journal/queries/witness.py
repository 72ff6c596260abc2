"""Facts of runs that a load test looks at: how they have ended, and calls that were paid twice."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, func, select

from app.journal.schema.engine import now
from app.journal.schema.models import Call, Run, Step


def clock(connection: Connection) -> float:
    """The journal's clock."""
    told: float = connection.execute(select(now())).scalar_one()
    return told


def ends(connection: Connection, run_ids: Sequence[str]) -> list[tuple[str, float, str]]:
    """Id, end and state of those of these runs that have ended."""
    query = select(Run.id, Run.finished_at, Run.state).where(Run.id.in_(run_ids))
    return [
        (row.id, row.finished_at, row.state)
        for row in connection.execute(query)
        if row.finished_at is not None
    ]


def known(connection: Connection, run_ids: Sequence[str]) -> int:
    """How many of these runs have a row."""
    query = select(func.count()).select_from(Run).where(Run.id.in_(run_ids))
    return int(connection.execute(query).scalar_one())


def paid_twice(connection: Connection, run_ids: Sequence[str]) -> int:
    """How many calls of these runs were made again after they had finished."""
    later = select(Call).subquery("later")
    query = (
        select(func.count())
        .select_from(Call)
        .join(Step, Step.id == Call.step_id)
        .join(
            later,
            (later.c.step_id == Call.step_id)
            & (later.c.fingerprint == Call.fingerprint)
            & (later.c.token > Call.token)
            & (later.c.started_at > Call.finished_at),
        )
        .where(Call.finished_at.is_not(None), Call.error.is_(None), Step.run_id.in_(run_ids))
    )
    return int(connection.execute(query).scalar_one())
