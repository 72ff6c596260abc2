"""Facts of runs that a load test looks at: those that there are, and how they have ended."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, func, select

from app.journal.schema.models import Run, Step
from celery_agents.contracts.outcome import State


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


def errors(connection: Connection, run_ids: Sequence[str]) -> list[str]:
    """Kind and message of the error of each of these runs that has failed."""
    failed = Step.state.in_((State.FAILED, State.DEAD))
    query = select(Step.outcome, Step.error).where(Step.id.in_(run_ids), failed)
    found = [(row.outcome or {}).get("error") or row.error for row in connection.execute(query)]
    return [f"{error['kind']}: {error['message']}" if error else "" for error in found]
