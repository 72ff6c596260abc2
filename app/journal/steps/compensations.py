"""Compensation in the journal: a run that fails gets a step that undoes what it had done.

The step (task ``agents.compensate``) belongs to the run but hangs below nothing: its id is derived
from the run's, and its row is written in the transaction that ends the root. A member's finish
that has a compensation says so in the row of its run. Both write that row, so of two at the same
time the second one sees the first; and runs without compensations cost no statement more.

Lock order: the row of a run comes after those of joins and steps (see locks.py).
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, bindparam, func, or_, select, update

from agents.patterns.compensate import Undoable
from app.journal.schema import heads, locks
from app.journal.schema.engine import now, read_clock
from app.journal.schema.models import DeadLetter, Event, Run, Step, table
from app.journal.schema.new_steps import INHERITED
from app.journal.schema.rows import Aftermath, Wake
from app.journal.schema.sealed import sealed_by
from app.journal.schema.upsert import insert_new, insert_of
from app.journal.schema.wake_columns import WAKE_COLUMNS, wake_of
from app.journal.steps import joins
from app.journal.steps.shared import Wholes
from celery_agents import names
from celery_agents.contracts.base import JsonValue
from celery_agents.contracts.compensation import Compensation, compensation_id
from celery_agents.contracts.outcome import Outcome, State
from celery_agents.contracts.patterns import STOPPING
from celery_agents.errors import InvalidPayloadError, redact
from celery_agents.sealing import opened_outcome

log = logging.getLogger(__name__)
_S = table(Step).c
_R = table(Run).c


@dataclass(frozen=True, slots=True)
class Uncertain:
    """An asked agent's step that had begun and did not succeed."""

    id: str
    state: State
    payload: dict[str, Any]


# -- when steps end


def follow_ends(
    connection: Connection,
    roots: Mapping[str, Outcome],
    finished: Collection[str],
    wake_grace_s: float,
) -> dict[str, Wake]:
    """Close the runs of ``roots``; note runs of which a step ``finished`` that can be undone.

    Returns, by run, the message for the step that undoes it: of roots that did not succeed, and
    of runs that had failed already when their step finished.
    """
    if finished:
        _lock_runs(connection, {*roots, *finished})
    late = _note(connection, sorted(finished)) if finished else []
    failed = joins.end_runs(connection, [(i, o.state, o.usage) for i, o in roots.items()])
    wakes = {i: _begin(connection, i, wake_grace_s) for i in [*late, *failed]}
    return {run_id: wake for run_id, wake in wakes.items() if wake is not None}


# A run that is noted already and still open is left alone: its row is no bottleneck.
_NOTED_ANEW = or_(_R.compensable.is_(False), _R.state != "open")
_NOTE = (
    update(table(Run))
    .where(_R.id.in_(bindparam("b_ids", expanding=True)), _NOTED_ANEW)
    .values(compensable=True)
    .returning(_R.id, _R.state)
)
_LOCK_RUNS = (
    select(_R.id)
    .where(_R.id.in_(bindparam("b_ids", expanding=True)), _NOTED_ANEW)
    .order_by(_R.id)
    .with_for_update()
)


def _lock_runs(connection: Connection, run_ids: Collection[str]) -> None:
    """Take the rows of several runs in the order of their ids."""
    if len(run_ids) > 1 and connection.dialect.name != "sqlite":
        connection.execute(_LOCK_RUNS, {"b_ids": sorted(run_ids)})


def _note(connection: Connection, run_ids: list[str]) -> list[str]:
    """Note runs with something to undo; return those that ended without success before."""
    noted = connection.execute(_NOTE, {"b_ids": run_ids}).all()
    return [run_id for run_id, state in noted if state not in {"open", State.SUCCEEDED}]


def _begin(connection: Connection, run_id: str, wake_grace_s: float) -> Wake | None:
    """Make the compensating step ready, anew if it is there; None when it will look by itself.

    None too when the root is gone: its run is being cleaned up.
    """
    root = connection.execute(
        select(_S.task, _S.state, _S.outcome, *(_S[name] for name in INHERITED)).where(
            _S.id == run_id
        )
    ).first()
    if root is None:
        return None
    error = (root.outcome or {}).get("error") or {}
    why = {"run_id": run_id, "task": root.task, "state": root.state, "error": error.get("kind")}
    row = {
        **{name: getattr(root, name) for name in INHERITED},
        "task": names.COMPENSATE,
        "payload": {"args": [], "kwargs": {k: v for k, v in why.items() if v is not None}},
        "max_attempts": STOPPING.max_attempts,
        "state": State.READY,
        "ready_at": now(),
        "wake_at": now() + wake_grace_s,
    }
    anew = {
        **row,
        "token": _S.token + 1,  # one that is just being decided has not seen all
        "attempts": 0,
        "worker_id": None,
        "outcome": None,
        "finished_at": None,
        "settled": False,
        "wakes": 0,
        "cancel_requested": False,
    }
    upsert = (
        insert_of(connection.dialect.name, table(Step))
        .values({**row, "id": compensation_id(run_id), "created_at": now()})
        .on_conflict_do_update(
            index_elements=[_S.id],
            set_=anew,
            # A message that asks for it in another run's name is refused, and its row stands in no
            # way; any other step of another run that has the id keeps it.
            where=(_S.state != State.WAITING)
            & ((_S.run_id == run_id) | (_S.task == names.COMPENSATE)),
        )
        .returning(*WAKE_COLUMNS)
    )
    made = connection.execute(upsert).first()
    if made is not None:
        return wake_of(made)
    _refuse_taken(connection, run_id, root.queue)
    return None


def _refuse_taken(connection: Connection, run_id: str, queue: str) -> None:
    """Make a dead letter if another run has the id of the step that was to undo this one."""
    step_id = compensation_id(run_id)
    holder = connection.execute(select(_S.run_id).where(_S.id == step_id)).scalar()
    if holder == run_id:
        return
    reason = f"The run {run_id} was not undone: another run has the id of the step that does it."
    log.error("%s", redact(reason))
    letter = {
        "id": step_id[:64],
        "cause": "id_in_use",
        "reason": redact(reason),
        "queue": queue,
        "task": names.COMPENSATE,
        "step_id": step_id,
        "payload": "",
        "raw": "",
        "size": 1,  # nothing of it was kept: it cannot be requeued
        "at": read_clock(connection),
    }
    connection.execute(insert_new(connection, DeadLetter).values(letter))


def begun(connection: Connection, run_id: str) -> bool:
    """Return whether a run is, or was, being undone."""
    found = select(_S.id).where(_S.id == compensation_id(run_id))
    return connection.execute(found).first() is not None


# -- for the compensating step


def let_go(connection: Connection, run_id: str) -> Aftermath | None:
    """End what of a failed run is open; None when nothing is, else running steps have to stop."""
    still_open = select(_S.id).where(_of(run_id), _S.state.in_(_OPEN)).limit(1)
    if connection.execute(still_open).first() is None:
        return None
    locks.lock(connection, [(run_id, run_id)])
    cancels = joins.drop_members(connection, [run_id], State.CANCELLED)
    return Aftermath(cancels=cancels) if connection.execute(still_open).first() else None


_OPEN = [s.value for s in State if not s.final]


def finished(connection: Connection, run_id: str) -> list[Undoable]:
    """Steps of a run that can be undone, the last that finished first."""
    rows = connection.execute(
        select(_S.id, _S.agent, heads.HEAD_OF_OUTCOME)
        .where(_of(run_id), _S.state == State.SUCCEEDED, heads.has("compensation"))
        .order_by(_S.finished_at.desc(), _S.position.desc(), _S.id.desc())
    )
    told = ((step_id, agent, heads.read(head)) for step_id, agent, head in rows)
    return [
        Undoable(step_id, head.get("agent", agent), Compensation.model_validate(undoes))
        for step_id, agent, head in told
        if (undoes := head.get("compensation"))
    ]


def uncertain(connection: Connection, run_id: str) -> list[Uncertain]:
    """Asked agents' steps that had begun and did not succeed, in the order of their start."""
    rows = connection.execute(
        select(_S.id, _S.state, _S.parent_id, _S.payload)
        .where(
            _of(run_id),
            _S.task == names.ASK,
            _S.state != State.SUCCEEDED,
            _S.started_at.is_not(None),
        )
        .order_by(_S.started_at, _S.id)
    )
    whole = Wholes(connection)
    return [Uncertain(i, State(state), whole(i, *told)) for i, state, *told in rows.all()]


def told(connection: Connection, step_id: str) -> tuple[JsonValue, JsonValue]:
    """Input and output of a step that succeeded.

    Raises:
        InvalidPayloadError: it is gone.
    """
    columns = select(_S.parent_id, _S.payload, _S.outcome)
    row = connection.execute(columns.where(_S.id == step_id)).first()
    if row is None:
        raise InvalidPayloadError(
            f"The step {step_id} cannot be undone: its run was cleaned up, and what it did with it."
        )
    payload = Wholes(connection)(step_id, row.parent_id, row.payload)
    outcome = opened_outcome(sealed_by(connection), row.outcome, step_id)
    args, kwargs = payload.get("args"), payload.get("kwargs", {})
    return (args[0] if args else kwargs.get("input")), outcome.get("value")


def turns(connection: Connection, run_id: str) -> int:
    """How often people asked for the compensation again."""
    step_id = compensation_id(run_id)
    again = (Event.run_id == run_id) & (Event.step_id == step_id) & (Event.kind == "requeue")
    return connection.execute(select(func.count()).select_from(Event).where(again)).scalar_one()


def _of(run_id: str) -> ColumnElement[bool]:
    """Steps of a run without those that undo it, or tell of its end."""
    step_id = compensation_id(run_id)
    return and_(
        _S.run_id == run_id,
        _S.task != names.WEBHOOK,
        _S.id != step_id,
        or_(_S.parent_id.is_(None), _S.parent_id != step_id),
    )
