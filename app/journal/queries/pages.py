"""A run as a page of people: how many steps stand where, and few of the steps at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, select

from app.journal.queries.reasons import COLUMNS, joined, why
from app.journal.schema.models import Call, Event, Run, Step, table
from app.journal.schema.sealed import event_shown, sealed_by
from celery_agents.sealing import Seals, opened_payload, readable, shown_value
from celery_agents.wire.shown import shown_args

_S, _C, _E, _R = (table(model).c for model in (Step, Call, Event, Run))
#: A run of no more steps is shown whole; of others a page of the root's members.
WHOLE_MAX = 150
#: Members of one page; calls and events that are told beside the steps.
MEMBERS, CALLS_MAX, EVENTS_MAX = 100, 500, 100
_SHOWN = (
    *(_S.id, _S.parent_id, _S.member, _S.position, _S.task, _S.agent, _S.state, _S.attempts),
    *(_S.outcome, _S.error, _S.created_at, _S.started_at, _S.finished_at, _S.tenant),
)
Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class PageOfRun:
    """The part of a large run that is wanted: members of its root, from a place on."""

    run_id: str
    after: int = -1
    state: str | None = None


def pulse(connection: Connection, run_id: str) -> list[tuple[Any, ...]]:
    """Figures that change whenever a step of the run does; none for a run without a row."""
    rows = connection.execute(
        select(
            *(_S.state, func.count(), func.sum(_S.attempts), func.sum(_S.token)),
            *(func.max(_S.started_at), func.max(_S.finished_at)),
        )
        .where(_S.run_id == run_id)
        .group_by(_S.state)
        .order_by(_S.state)
    )
    return [tuple(row) for row in rows]


def run_page(connection: Connection, wanted: PageOfRun) -> Row | None:
    """A run with the steps of one page, their calls and its events; None when it has no row."""
    run_id = wanted.run_id
    root = connection.execute(select(*_SHOWN, _S.payload).where(_S.id == run_id)).first()
    if root is None:
        return None
    run = connection.execute(select(_R.finished_at, _R.usage).where(_R.id == run_id)).first()
    counted = select(_S.state, func.count()).where(_S.run_id == run_id, _S.id != run_id)
    counts: dict[str, int] = dict(
        tuple(row) for row in connection.execute(counted.group_by(_S.state))
    )
    whole = sum(counts.values()) < WHOLE_MAX
    steps, more = _all(connection, run_id), None
    if not whole:
        steps, more = _members(connection, wanted)
    seals, options = sealed_by(connection), (root.payload or {}).get("kwargs")
    return {
        "root": _step(root),
        "value": shown_value(seals, root.outcome, run_id),
        "asked": readable(lambda: _asked(seals, root)),
        "session": _session(options),
        "finished_at": run.finished_at if run else root.finished_at,
        "usage": run.usage if run else None,
        "counts": counts,
        "whole": whole,
        "steps": [_step(row) for row in steps],
        "why": _why(connection, [row.id for row in (root, *steps) if row.finished_at is None]),
        "more": more,
        "calls": _calls(connection, [run_id, *(row.id for row in steps)]),
        "events": _events(connection, run_id),
    }


def _all(connection: Connection, run_id: str) -> list[Any]:
    query = select(*_SHOWN).where(_S.run_id == run_id, _S.id != run_id)
    ordered = query.order_by(_S.created_at, _S.position).limit(WHOLE_MAX)
    return list(connection.execute(ordered))


def _members(connection: Connection, wanted: PageOfRun) -> tuple[list[Any], int | None]:
    """Members of one page, and the place after which the next page begins."""
    query = select(*_SHOWN).where(
        _S.run_id == wanted.run_id,
        _S.parent_id == wanted.run_id,
        _S.position > wanted.after,
    )
    if wanted.state is not None:
        query = query.where(_S.state == wanted.state)
    rows = list(connection.execute(query.order_by(_S.position).limit(MEMBERS + 1)))
    more = rows[MEMBERS - 1].position if len(rows) > MEMBERS else None
    return rows[:MEMBERS], more


def _why(connection: Connection, ids: list[str]) -> dict[str, str]:
    """Why steps that have not ended do not go on, where they do not run as they should."""
    if not ids:
        return {}
    rows = connection.execute(joined(select(Step.id, *COLUMNS)).where(Step.id.in_(ids)))
    reasons = {row.id: why(row) for row in rows}
    return {step_id: reason.text for step_id, reason in reasons.items() if reason is not None}


def _calls(connection: Connection, ids: list[str]) -> list[Row]:
    rows = connection.execute(
        select(
            *(_C.step_id, _C.seq, _C.token, _C.name, _C.started_at, _C.finished_at),
            *(_C.error, _C.cost_usd),
        )
        .where(_C.step_id.in_(ids))
        .order_by(_C.step_id, _C.started_at, _C.seq)
        .limit(CALLS_MAX)
    )
    return [dict(row._mapping) for row in rows]  # noqa: SLF001 - SQLAlchemy's public name


def _events(connection: Connection, run_id: str) -> list[Row]:
    """The newest events, the oldest of them first."""
    rows = connection.execute(
        select(_E.at, _E.step_id, _E.kind, _E.data)
        .where(_E.run_id == run_id)
        .order_by(_E.id.desc())
        .limit(EVENTS_MAX)
    )
    seals = sealed_by(connection)
    found = [event_shown(seals, row) for row in rows]
    return found[::-1]


def _asked(seals: Seals | None, root: Any) -> str:
    return shown_args(opened_payload(seals, root.payload or {}, root.id).get("args", ()))


def _session(kwargs: Any) -> str | None:
    name = kwargs.get("session") if isinstance(kwargs, dict) else None
    return name if isinstance(name, str) else None


def _step(row: Any) -> Row:
    outcome = row.outcome or {}
    error = outcome.get("error") or row.error
    return {
        "id": row.id,
        "parent_id": row.parent_id,
        "member": row.member,
        "task": row.task,
        "agent": row.agent,
        "state": row.state,
        "attempts": row.attempts or outcome.get("attempts", 0),
        "error": error and {"kind": error["kind"], "message": error["message"]},
        "usage": outcome.get("usage"),
        "created_at": row.created_at,
        "started_at": row.started_at,
        "finished_at": row.finished_at,
        "tenant": row.tenant,
    }
