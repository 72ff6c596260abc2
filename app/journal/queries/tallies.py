"""A step's members as numbers and as pages of outcomes: there may be too many to load."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import ColumnElement, Connection, Text, bindparam, cast, func, select, true

from agents.plan import Tally
from app.journal.schema import heads
from app.journal.schema.models import Step, table
from app.journal.schema.sealed import sealed_by
from celery_agents import names
from celery_agents.contracts.base import JsonValue
from celery_agents.contracts.outcome import ErrorInfo, Outcome, State, Usage
from celery_agents.errors import InvalidPayloadError
from celery_agents.sealing import opened_outcome, opened_payload, shown_outcome

_S = table(Step).c
_FAILED = (State.FAILED, State.DEAD)
#: Failed members whose errors are told.
ERRORS_MAX = 10
#: Outcomes of one page, and the characters at which it ends sooner (one is always in it).
PAGE_ROWS = 1_000
PAGE_CHARACTERS = 1_000_000

_SIZE = func.coalesce(func.length(cast(_S.outcome, Text)), 0)


def tally(connection: Connection, step_id: str, *, values_within: int = 0) -> Tally:
    """Count a step's members, of all rounds.

    Their values are read too while all their outcomes together take at most ``values_within``
    characters.
    """
    of_step = _S.parent_id == step_id
    counts = connection.execute(
        select(_S.state, func.count(), func.sum(_SIZE)).where(of_step).group_by(_S.state)
    ).all()
    by_state = {State(state): number for state, number, _ in counts}
    return Tally(
        total=sum(by_state.values()),
        succeeded=by_state.get(State.SUCCEEDED, 0),
        failed=sum(by_state.get(state, 0) for state in _FAILED),
        usage=_usage(connection, of_step),
        errors=_errors(connection, of_step) if by_state.keys() & set(_FAILED) else (),
        values=(
            _values(connection, of_step)
            if sum(size for *_, size in counts) <= values_within
            else None
        ),
    )


def _usage(connection: Connection, of_step: ColumnElement[bool]) -> Usage:
    """Sum up the usage; most free steps have none stored, so most rows are not read."""
    query = select(heads.HEAD_OF_OUTCOME).where(of_step, heads.has("usage"))
    told = (heads.read(head).get("usage") for head in connection.execute(query).scalars())
    return sum((Usage.model_validate(usage) for usage in told if usage), Usage())


def _errors(
    connection: Connection, of_step: ColumnElement[bool]
) -> tuple[tuple[int, ErrorInfo], ...]:
    rows = connection.execute(
        select(_S.position, _S.outcome)
        .where(of_step, _S.state.in_(_FAILED))
        .order_by(_S.position)
        .limit(ERRORS_MAX)
    )
    return tuple((row.position, ErrorInfo.model_validate(row.outcome["error"])) for row in rows)


def _values(connection: Connection, of_step: ColumnElement[bool]) -> tuple[JsonValue, ...]:
    seals = sealed_by(connection)
    rows = connection.execute(select(_S.id, _S.outcome).where(of_step).order_by(_S.position))
    return tuple(opened_outcome(seals, row.outcome or {}, row.id).get("value") for row in rows)


def page(connection: Connection, step_id: str, after: int = -1) -> dict[str, Any]:
    """Outcomes of members that ended, from place ``after`` + 1 on.

    Returns ``outcomes``: pairs of place and outcome, and ``more``: the place after which the next
    page begins, or None.

    Raises:
        InvalidPayloadError: there is no such step (any more).
    """
    if connection.execute(select(_S.id).where(_S.id == step_id)).first() is None:
        raise InvalidPayloadError(f"There is no step {step_id} in the journal (any more).")
    ended = (_S.parent_id == step_id) & _S.outcome.is_not(None)
    sizes = connection.execute(
        select(_S.position, _SIZE)
        .where(ended, _S.position > after)
        .order_by(_S.position)
        .limit(PAGE_ROWS + 1)
    ).all()
    characters = taken = 0
    for _, size in sizes[:PAGE_ROWS]:
        characters += size
        if taken and characters > PAGE_CHARACTERS:
            break
        taken += 1
    last = sizes[taken - 1].position if taken else after
    rows = connection.execute(
        select(_S.id, _S.position, cast(_S.outcome, Text))
        .where(ended, _S.position > after, _S.position <= last)
        .order_by(_S.position)
    )
    seals = sealed_by(connection)
    return {
        "outcomes": [
            [position, shown_outcome(seals, json.loads(outcome), step_id)]
            for step_id, position, outcome in rows
        ],
        "more": last if taken < len(sizes) else None,
    }


def earlier_map(connection: Connection, run_id: str, tenant: str) -> tuple[str, dict[str, Any]]:
    """The id and payload of a tenant's map that has ended; of the first one, if it resumed.

    Raises:
        InvalidPayloadError: there is no such run (any more), it is no map, or it goes on.
    """
    row = connection.execute(_EARLIER, {"b_id": run_id, "b_tenant": tenant}).first()
    if row is None or row.task != names.MAP:
        raise InvalidPayloadError(f"resumes: there is no map {run_id} in the journal (any more).")
    if row.finished_at is None:
        raise InvalidPayloadError(f"resumes: the map {run_id} has not ended.")
    payload = opened_payload(sealed_by(connection), row.payload, run_id)
    before = payload["kwargs"].get("resumes")
    return (run_id, payload) if before is None else earlier_map(connection, before, tenant)


def answers(
    connection: Connection,
    step_id: str,
    tenant: str | None = None,
    *,
    within: tuple[int, int] | None = None,
) -> dict[int, Outcome]:
    """The outcomes of a step's members that succeeded, by their places; of that tenant's alone.

    ``within``: from that place on, before the other one.
    """
    theirs = true() if tenant is None else _S.tenant == tenant
    if within is not None:
        theirs = theirs & (_S.position >= within[0]) & (_S.position < within[1])
    seals = sealed_by(connection)
    rows = connection.execute(
        select(_S.id, _S.position, _S.outcome).where(
            _S.parent_id == step_id, _S.state == State.SUCCEEDED, theirs
        )
    )
    return {
        row.position: Outcome.model_validate(opened_outcome(seals, row.outcome, row.id))
        for row in rows
    }


_EARLIER = select(_S.task, _S.finished_at, _S.payload).where(
    _S.id == bindparam("b_id"), _S.tenant == bindparam("b_tenant"), _S.parent_id.is_(None)
)
