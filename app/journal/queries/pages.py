"""A run as a page of people: how many steps stand where, and few of the steps at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Connection, func, select

from app.journal.queries import reads
from app.journal.queries.progress import progresses
from app.journal.schema.engine import now
from app.journal.schema.models import Call, Event, Run, Step, Worker, table
from app.journal.schema.sealed import event_shown, sealed_by
from celery_agents.contracts.outcome import State
from celery_agents.sealing import Seals, opened_payload, readable, shown_value
from celery_agents.wire.shown import shown_args

_S, _C, _E, _R, _W = (table(model).c for model in (Step, Call, Event, Run, Worker))
_ENDED = frozenset(state for state in State if state.final)
#: A run of no more steps is shown whole; of others a page of the root's members.
WHOLE_MAX = 150
#: Members of one page; calls and events that are told beside the steps.
MEMBERS, CALLS_MAX, EVENTS_MAX = 100, 500, 100
Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class PageOfRun:
    """The part of a large run that is wanted: members of its root, from a place on."""

    run_id: str
    after: int = -1
    state: str | None = None


class Pulse(NamedTuple):
    """A run at a moment: whether it is over, and figures that change with what is shown of it."""

    ended: bool
    figures: tuple[tuple[Any, ...], ...]


def pulse(connection: Connection, run_id: str) -> Pulse:
    """The pulse of a run, or of a step with its members; without a row there are no figures.

    Of a run that is not shown whole those of its root and of its members' counts.
    """
    number = _number(connection, run_id)
    large = number > WHOLE_MAX
    which = _S.id == run_id if large else _S.run_id == run_id
    if not number:  # no run: a step of one, with its members, as its page shows them
        which = (_S.id == run_id) | (_S.parent_id == run_id)
    steps = connection.execute(
        select(
            *(_S.state, func.count(), func.sum(_S.attempts), func.sum(_S.token)),
            *(func.max(_S.started_at), func.max(_S.finished_at)),
        )
        .where(which)
        .group_by(_S.state)
        .order_by(_S.state)
    ).all()
    newest = select(func.max(_E.id)).where(_E.run_id == run_id)
    ids = select(_S.id).where(which)
    calls = select(func.count(), func.count(_C.finished_at)).where(_C.step_id.in_(ids))
    lost = select(func.count()).where(
        which,
        _S.state == State.RUNNING,
        _S.worker_id.not_in(select(_W.id).where(_W.lease_until > now())),
    )
    figures = [
        *map(tuple, steps),
        (connection.execute(newest).scalar(),),
        tuple(connection.execute(calls).one()),
        (connection.execute(lost).scalar(),),
    ]
    if large:
        told = progresses(connection, [run_id])
        figures += [(p.total, p.done, p.succeeded, p.running) for p in told]
    ended = bool(steps) and all(row.state in _ENDED for row in steps)
    if ended and large:
        ended = connection.execute(_open_of(run_id)).first() is None
    return Pulse(ended, tuple(figures) if steps else ())


def _open_of(run_id: str) -> Any:
    """Select a step of a run that has not ended; it is asked once the root has."""
    return select(_S.id).where(_S.run_id == run_id, _S.state.not_in(_ENDED)).limit(1)


def _number(connection: Connection, run_id: str) -> int:
    """The number of a run's steps; of one that is not shown whole, one more than would be."""
    some = select(_S.id).where(_S.run_id == run_id).limit(WHOLE_MAX + 1).subquery()
    return connection.execute(select(func.count()).select_from(some)).scalar_one()


def run_page(connection: Connection, wanted: PageOfRun) -> Row | None:
    """A run with the steps of one page, their calls and its events; None when it has no row."""
    run_id = wanted.run_id
    row = connection.execute(reads.SHOWN.where(_S.id == run_id)).first()
    if row is None:
        return None
    said = select(_S.id, _S.payload, _S.outcome).where(_S.id == run_id)
    root = connection.execute(said).one()
    run = connection.execute(select(_R.finished_at, _R.usage).where(_R.id == run_id)).first()
    whole = _number(connection, run_id) <= WHOLE_MAX
    counts = _counts(connection, row, whole=whole)
    rows, more = (_all(connection, run_id), None) if whole else _members(connection, wanted)
    top, steps = _step(row), [_step(one) for one in rows]
    seals, options = sealed_by(connection), (root.payload or {}).get("kwargs")
    return {
        "root": top,
        "value": shown_value(seals, root.outcome, run_id),
        "asked": readable(lambda: _asked(seals, root)),
        "session": _session(options),
        "finished_at": run.finished_at if run else row.finished_at,
        "usage": run.usage if run else None,
        "counts": counts,
        "whole": whole,
        "steps": steps,
        "more": more,
        "calls": _calls(connection, [run_id, *(one.id for one in rows)]),
        "events": _events(connection, run_id),
    }


def _counts(connection: Connection, root: Any, *, whole: bool) -> dict[str, int]:
    """How many of the others stand in which state.

    Of a large run of agents that is under way by the counts that its join keeps: to look at 20,000
    rows takes some 20 ms, and they are asked for again and again.
    """
    if not whole and root.finished_at is None and reads.has_agents(connection, root.id):
        for told in progresses(connection, [root.id]):
            found = {
                State.SUCCEEDED: told.succeeded,
                State.FAILED: told.failed,
                State.SKIPPED: told.skipped,
                State.RUNNING: told.running,
                State.READY: max(told.total - told.done - told.running, 0),
            }
            return {state.value: number for state, number in found.items() if number}
    counted = select(_S.state, func.count()).where(_S.run_id == root.id, _S.id != root.id)
    return dict(tuple(row) for row in connection.execute(counted.group_by(_S.state)))


def _all(connection: Connection, run_id: str) -> list[Any]:
    query = reads.SHOWN.where(_S.run_id == run_id, _S.id != run_id)
    ordered = query.order_by(_S.created_at, _S.position).limit(WHOLE_MAX)
    return list(connection.execute(ordered))


def _members(connection: Connection, wanted: PageOfRun) -> tuple[list[Any], int | None]:
    """Members of one page, and the place after which the next page begins."""
    query = select(_S.id, _S.position).where(
        _S.parent_id == wanted.run_id, _S.position > wanted.after
    )
    if wanted.state is not None:
        query = query.where(_S.state == wanted.state)
    # Chosen first, by an index: joined with what their reasons need, all would be sorted.
    chosen = connection.execute(query.order_by(_S.position).limit(MEMBERS + 1)).all()
    more = chosen[MEMBERS - 1].position if len(chosen) > MEMBERS else None
    ids = [one.id for one in chosen[:MEMBERS]]
    return list(connection.execute(reads.SHOWN.where(_S.id.in_(ids)).order_by(_S.position))), more


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
    return {**reads.told_of(row), "created_at": row.created_at, "tenant": row.tenant}
