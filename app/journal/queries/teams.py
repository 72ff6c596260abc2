"""The steps below a team's, as its report tells them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, literal, select

from agents.patterns.team import Turned
from agents.values import text_of
from app.journal.schema.engine import read_clock
from app.journal.schema.heads import HEAD_OF_OUTCOME, OUTCOME_WITHOUT_VALUE
from app.journal.schema.heads import read as read_head
from app.journal.schema.models import Step, table
from app.journal.schema.sealed import sealed_by
from app.journal.steps.shared import Wholes
from celery_agents.contracts.outcome import Outcome, State, Usage
from celery_agents.contracts.teams.team import PARTS_MAX
from celery_agents.errors import redact
from celery_agents.sealing import opened_outcome

#: Characters of what somebody was asked.
ASKED = 200
_S = table(Step).c


def below(connection: Connection, step_id: str) -> list[Turned]:
    """Read the steps below a step in the order in which they were asked for.

    Of those that are too many for a report what they were asked is not read.
    """
    rows = _in_order(connection.execute(_BELOW, {"b_id": step_id}).all())
    whole = Wholes(connection)
    return [_turned(row, whole if place < PARTS_MAX else None) for place, row in enumerate(rows)]


def _in_order(rows: Sequence[Any]) -> list[Any]:
    """Sort by when they were made; none before whoever asked for it, however exact its time is."""
    at: dict[str, float] = {}
    for row in sorted(rows, key=lambda r: r.depth):
        at[row.id] = max(row.created_at, at.get(row.parent_id, row.created_at))
    return sorted(rows, key=lambda r: (at[r.id], r.depth, r.parent_id, r.position))


def turn(
    connection: Connection, step_id: str, run_id: str
) -> tuple[State, Outcome | None, float] | None:
    """Read a turn of a run: its state, its outcome once it has one, and its age in seconds."""
    row = connection.execute(_TURN, {"b_id": step_id, "b_run": run_id}).first()
    if row is None:
        return None
    outcome = None
    if row.outcome is not None:
        whole = opened_outcome(sealed_by(connection), row.outcome, step_id)
        outcome = Outcome.model_validate(whole)
    return State(row.state), outcome, read_clock(connection) - row.created_at


def _turned(row: Any, whole: Wholes | None) -> Turned:
    head = read_head(row.head or "")
    error = None if row.failed is None else json.loads(row.failed).get("error")
    usage = head.get("usage")
    payload = None if whole is None else whole(row.id, row.parent_id, row.payload)
    asked = None if payload is None else payload["args"]
    who = row.agent or row.task
    options = {} if payload is None else payload["kwargs"]
    called = _called(options, who)
    return Turned(
        id=row.id,
        parent_id=row.parent_id,
        who=called,
        base=None if called == who else who,
        same_as=(options.get("repeats") or {}).get("same_as"),
        task=redact(text_of(asked[0]), limit=ASKED) if asked else "",
        state=State(row.state),
        error=None if error is None else error["kind"],
        usage=None if row.head is None else Usage.model_validate(usage or {}),
        duration_s=head.get("duration_s"),
        depth=row.depth,
    )


def _called(options: Mapping[str, Any], agent: str) -> str:
    """The name that an agent has for its task."""
    spec = options.get("spec") or {}
    return str(spec.get("name") or agent)


def _below() -> Any:
    first = select(_S.id, literal(0).label("depth")).where(_S.parent_id == bindparam("b_id"))
    found = first.cte("below", recursive=True)
    further = select(_S.id, found.c.depth + 1)
    found = found.union_all(further.where(_S.parent_id == found.c.id))
    columns = (
        *(_S.id, _S.parent_id, _S.agent, _S.task, _S.state, _S.payload, found.c.depth),
        *(_S.created_at, _S.position),
    )
    return select(
        *columns, HEAD_OF_OUTCOME.label("head"), OUTCOME_WITHOUT_VALUE.label("failed")
    ).join(found, found.c.id == _S.id)


_BELOW = _below()
_TURN = select(_S.state, _S.outcome, _S.created_at).where(
    _S.id == bindparam("b_id"), _S.run_id == bindparam("b_run")
)
