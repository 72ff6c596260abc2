"""Runs, found by what people ask for: a page of a list, in the order of time or of cost."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    func,
    or_,
    select,
    union,
)
from sqlalchemy.orm import aliased

from app.journal.queries.reasons import COLUMNS, Reason, asking_steps, joined, stuck_steps, why
from app.journal.schema.engine import now
from app.journal.schema.heads import OUTCOME_WITHOUT_VALUE
from app.journal.schema.models import Run, Step
from celery_agents.contracts.outcome import State, Usage
from celery_agents.contracts.watching import RunFilter, RunInfo, RunPage, cursor_of, read_cursor

#: Of a run that has ended. It is no text of others: ``runs.usage`` holds our own numbers alone.
_COST: ColumnElement[float] = func.coalesce(Run.usage["cost_usd"].as_float(), 0.0)
_FAILED = (State.FAILED, State.DEAD)


def page(connection: Connection, wanted: RunFilter) -> RunPage:
    """A page of the runs that are looked for.

    Raises:
        InvalidPayloadError: ``after`` is no place in such a list.
    """
    rows = connection.execute(_query(wanted)).all()
    shown = rows[: wanted.limit]
    reasons = _reasons(connection, [row.id for row in shown])
    more = None
    if len(rows) > len(shown):
        more = cursor_of(shown[-1].key, shown[-1].id)
    return RunPage(runs=tuple(_info(row, reasons.get(row.id)) for row in shown), more=more)


def _query(wanted: RunFilter) -> Select[Any]:
    key = _COST if wanted.order == "cost" else Run.created_at
    query = (
        select(
            key.label("key"),
            *(Run.id, Run.task, Run.tenant, Run.created_at, Run.finished_at, Run.usage),
            *(Step.agent, Step.state, OUTCOME_WITHOUT_VALUE.label("outcome")),
        )
        .join(Step, Step.id == Run.id)
        .where(*_conditions(wanted))
        .order_by(key.desc(), Run.id.desc())
        .limit(wanted.limit + 1)
    )
    if wanted.after is not None:
        value, run_id = read_cursor(wanted.after)
        query = query.where(key <= value, or_(key < value, Run.id < run_id))
    return query


def _conditions(wanted: RunFilter) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if wanted.state is not None:
        found.append(Step.state == wanted.state)
        # The run's own row says it of those that ended, and is the one that an index orders.
        found.append(Run.state == (wanted.state if wanted.state.final else "open"))
    if wanted.tenant is not None:
        found.append(Run.tenant == wanted.tenant)
    if wanted.since_s is not None:
        found.append(Run.created_at >= now() - wanted.since_s)
    if wanted.failed:
        found.append(Run.state.in_(_FAILED))
    if wanted.order == "cost":
        found.append(Run.finished_at.is_not(None))
    if wanted.agent is not None:
        own = aliased(Step)
        asks = select(own.id).where(own.run_id == Run.id, own.agent == wanted.agent)
        found.append(asks.exists())
    if wanted.waiting:
        found.append(Run.id.in_(select(asking_steps().subquery().c.run_id)))
    if wanted.stuck:
        found.append(Run.id.in_(select(stuck_steps().subquery().c.run_id)))
    return found


def _reasons(connection: Connection, run_ids: Sequence[str]) -> dict[str, Reason]:
    """The most urgent reason of each run: a stuck step, one that asks a person, or its root."""
    if not run_ids:
        return {}
    telling = union(  # not OR: PostgreSQL would read all steps
        select(Step.id).where(Step.id.in_(run_ids)),
        select(stuck_steps(run_ids).subquery().c.id),
        select(asking_steps().where(Step.run_id.in_(run_ids)).subquery().c.id),
    )
    found: dict[str, Reason] = {}
    query = joined(select(Step.run_id, *COLUMNS)).where(Step.id.in_(telling))
    for row in connection.execute(query):
        reason = why(row)
        known = found.get(row.run_id)
        if reason is not None and (known is None or reason < known):
            found[row.run_id] = reason
    return found


def _info(row: Any, reason: Reason | None) -> RunInfo:
    error = json.loads(row.outcome).get("error") if row.outcome else None
    return RunInfo(
        id=row.id,
        task=row.task,
        agent=row.agent,
        tenant=row.tenant,
        state=row.state,
        created_at=row.created_at,
        finished_at=row.finished_at,
        usage=None if row.usage is None else Usage.model_validate(row.usage),
        error=error and f"{error['kind']}: {error['message']}",
        why=reason and reason.text,
    )
