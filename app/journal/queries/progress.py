"""How far steps with members are: by the counts of their joins, without reading the members."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, func, literal_column, select

from app.journal.schema.engine import now
from app.journal.schema.models import Join, Step
from celery_agents.contracts.outcome import State
from celery_agents.contracts.watching import MemberProgress

#: In the words of the partial index. The parent is compared so that its own index is not used: that
#: would read all its members, and the running ones are few.
_RUNNING = Step.state == literal_column(f"'{State.RUNNING}'")
_PARENT = func.coalesce(Step.parent_id, literal_column("''"))


def progresses(connection: Connection, step_ids: Sequence[str]) -> list[MemberProgress]:
    """How far those of these steps are that have members, in the order of their ids."""
    rows = connection.execute(
        select(
            Step.id,
            Step.state,
            (func.coalesce(Step.finished_at, now()) - Step.started_at).label("elapsed_s"),
            *(Join.round, Join.expected, Join.done, Join.succeeded),
            Join.state.label("join"),
        )
        .join(Join, Join.step_id == Step.id)
        .where(Join.step_id.in_(step_ids))
        .order_by(Step.id)
    ).all()
    running = _running(connection, [row.id for row in rows])
    return [_progress(connection, row, running.get(row.id, 0)) for row in rows]


def _running(connection: Connection, step_ids: Sequence[str]) -> dict[str, int]:
    if not step_ids:
        return {}
    query = select(_PARENT.label("of"), func.count().label("steps")).where(_RUNNING)
    rows = connection.execute(query.where(_PARENT.in_(step_ids)).group_by(_PARENT))
    return {row.of: row.steps for row in rows}


def _progress(connection: Connection, row: Any, running: int) -> MemberProgress:
    before = _before(connection, row.id, row.round) if row.round > 1 else {}
    succeeded = row.succeeded + before.get(State.SUCCEEDED, 0)
    skipped = before.get(State.SKIPPED, 0)
    if row.join == "fired":  # it ended early: what had not begun was let go
        skipped += max(row.expected - row.done - running, 0)
    total = row.expected + sum(before.values())
    return MemberProgress(
        step_id=row.id,
        state=row.state,
        total=total,
        succeeded=succeeded,
        failed=row.done + sum(before.values()) - succeeded - before.get(State.SKIPPED, 0),
        running=running,
        skipped=skipped,
        elapsed_s=row.elapsed_s or 0.0,
    )


def _before(connection: Connection, step_id: str, number: int) -> dict[str, int]:
    """Count the members of earlier rounds, whose joins' counts are no more, by state."""
    query = select(Step.state, func.count().label("steps")).where(
        Step.parent_id == step_id, Step.round < number
    )
    return {row.state: row.steps for row in connection.execute(query.group_by(Step.state))}
