"""Dead letters in the journal: messages that nobody could run, and steps that were given up.

A message has a row of its own. A step's row is the letter: it is listed from its end until it is
requeued, or dropped, which an event says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, delete, exists, func, select, true, tuple_, update

from app.journal.schema import locks
from app.journal.schema.engine import now
from app.journal.schema.models import DeadLetter, Event, Join, Run, Step
from app.journal.schema.rows import Wake
from app.journal.schema.transactions import is_again
from app.journal.schema.upsert import insert_new
from app.journal.schema.wake_columns import WAKE_COLUMNS, wake_of
from app.journal.steps import compensations, joins
from app.journal.steps.finishes import event
from app.journal.steps.shared import Wholes
from celery_agents.contracts.compensation import compensation_id
from celery_agents.contracts.outcome import State
from celery_agents.errors import InvalidPayloadError, redact
from celery_agents.sealing import readable
from celery_agents.wire.shown import shown_args, shown_kwargs

_DROPPED, _REQUEUED = "dropped", "requeue"
_LISTED = (Step.state == State.DEAD) & ~exists().where(
    Event.run_id == Step.run_id,
    Event.step_id == Step.id,
    Event.kind == _DROPPED,
    Event.at >= Step.finished_at,
)


def insert_letters(connection: Connection, rows: Sequence[dict[str, Any]], most: int) -> int:
    """Keep letters, those that are there already left alone; returns how many old ones went."""
    connection.execute(insert_new(connection, DeadLetter), list(rows))
    surplus = connection.execute(select(func.count()).select_from(DeadLetter)).scalar_one() - most
    if surplus <= 0:
        return 0
    oldest = select(DeadLetter.id).order_by(DeadLetter.at).limit(surplus)
    return connection.execute(delete(DeadLetter).where(DeadLetter.id.in_(oldest))).rowcount


#: Where a page of letters ends: when its last one was given up, and its id.
Place = tuple[float, str]


def listed(
    connection: Connection, limit: int, tenant: str | None = None, before: Place | None = None
) -> list[dict[str, Any]]:
    """The newest letters of both kinds, or those ``before`` one, without what they hold.

    Those of one ``tenant`` are its steps: of a message that nobody could read, nobody knows whose
    it was.
    """
    messages: Iterable[Any] = ()
    if tenant is None:
        messages = connection.execute(
            select(DeadLetter.__table__)
            .where(_older(DeadLetter.at, DeadLetter.id, before))
            .order_by(DeadLetter.at.desc(), DeadLetter.id.desc())
            .limit(limit)
        )
    steps = connection.execute(
        select(Step.__table__)
        .where(_LISTED, true() if tenant is None else Step.tenant == tenant)
        .where(_older(Step.finished_at, Step.id, before))
        .order_by(Step.finished_at.desc(), Step.id.desc())
        .limit(limit)
    )
    found = [*map(_of_message, messages), *map(_of_step, steps)]
    return sorted(found, key=lambda one: (one["at"], one["id"]), reverse=True)[:limit]


def _older(at: Any, key: Any, before: Place | None) -> Any:
    return true() if before is None else tuple_(at, key) < tuple_(*before)


def find(connection: Connection, letter_id: str) -> dict[str, Any] | None:
    """One letter, with what it holds (redacted); None when there is none of that id."""
    if message := message_of(connection, letter_id):
        return _of_message(message) | {"payload": message.payload, "size": message.size}
    step = connection.execute(
        select(Step.__table__).where(Step.id == letter_id, Step.state == State.DEAD)
    ).first()
    if step is None:
        return None
    return _of_step(step) | {"payload": readable(lambda: _held(connection, step))}


def _held(connection: Connection, step: Any) -> str:
    payload = Wholes(connection)(step.id, step.parent_id, step.payload)
    return f"{shown_args(payload.get('args', ()))} {shown_kwargs(payload.get('kwargs', {}))}"


def message_of(connection: Connection, letter_id: str) -> Any:
    """The row of a dead message."""
    query = select(DeadLetter.__table__).where(DeadLetter.id == letter_id)
    return connection.execute(query).first()


def forget_message(connection: Connection, letter_id: str) -> bool:
    """Delete a dead message; return whether there was one."""
    return bool(connection.execute(delete(DeadLetter).where(DeadLetter.id == letter_id)).rowcount)


def drop_step(connection: Connection, step_id: str) -> bool:
    """List a dead step no more; False when none of that id is listed."""
    query = select(Step.run_id).where(_LISTED, Step.id == step_id)
    run_id = connection.execute(query).scalar()
    if run_id is not None:
        connection.execute(event(run_id, step_id, _DROPPED, {}))
    return run_id is not None


def requeue_step(
    connection: Connection,
    step_id: str,
    wake_grace_s: float,
    *,
    forget: Callable[[str], object] = lambda _: None,
) -> Wake:
    """Make a dead step ready again, with all its attempts; a root opens its run again.

    ``forget`` drops the result that clients see: before the commit, after which there may be one
    that is new.

    Raises:
        InvalidPayloadError: it is not dead, its parent went on without it, or the run was undone.
    """
    about = select(Step.parent_id, Step.run_id).where(Step.id == step_id)
    place = connection.execute(about).first()
    parent_id = place.parent_id if place else None
    if place is not None and parent_id is not None:
        locks.lock(connection, [(parent_id, place.run_id)])
    elif place is not None and step_id == compensation_id(place.run_id):
        _lock_run(connection, place.run_id)  # before the step: who ends a member late writes both
    query = select(
        *(Step.state, Step.run_id, Step.round),
        *WAKE_COLUMNS,
        (Step.deadline_at - Step.created_at).label("span_s"),
    ).where(Step.id == step_id)
    step = connection.execute(query.with_for_update(key_share=True)).first()
    if (
        step
        and step.state != State.DEAD
        and is_again(connection)
        and _told(connection, step.run_id, step_id)
    ):
        return wake_of(step[3 : 3 + len(WAKE_COLUMNS)])
    if step is None or step.state != State.DEAD:
        raise InvalidPayloadError(f"There is no dead letter {step_id}.")
    if parent_id is None:
        _check_run(connection, step_id, step.run_id)
    elif not _waited_for(connection, parent_id, step.round):
        raise InvalidPayloadError(
            f"The step {step_id} cannot run again: its parent {parent_id} went on without it. "
            "Ask for the run again."
        )
    before = _told(connection, step.run_id, step_id)
    span_s = before[0].get("timeout_s") if before else step.span_s
    row = connection.execute(
        update(Step)
        .where(Step.id == step_id)
        .values(_again(wake_grace_s, span_s))
        .returning(*WAKE_COLUMNS)
    ).one()
    connection.execute(event(step.run_id, step_id, _REQUEUED, {"timeout_s": span_s}))
    forget(step_id)
    if parent_id is not None:
        joins.recount(connection, parent_id, step.round)
    else:
        opened = {"state": "open", "finished_at": None, "usage": None}
        connection.execute(update(Run).where(Run.id == step_id).values(opened))
    return wake_of(row)


def _told(connection: Connection, run_id: str, step_id: str) -> list[dict[str, Any]]:
    """Return the notes made each time that a step was requeued, the first time first."""
    query = select(Event.data).where(
        Event.run_id == run_id, Event.step_id == step_id, Event.kind == _REQUEUED
    )
    rows = connection.execute(query.order_by(Event.id)).scalars()
    return [data or {} for data in rows]


def _check_run(connection: Connection, step_id: str, run_id: str) -> None:
    """Refuse a step without a parent whose run cannot go on, or be undone.

    Who ends a member late looks into the run's row, as does who cleans the run: it is locked.
    """
    _lock_run(connection, run_id)
    if compensations.begun(connection, step_id):
        raise InvalidPayloadError(
            f"The run {step_id} cannot go on: what it had done was undone. Ask for it again."
        )
    if step_id != run_id and not connection.execute(_ROOT, {"b_id": run_id}).first():
        raise InvalidPayloadError(
            f"The run {run_id} was cleaned up, and what it had done with it: "
            "it cannot be undone from here."
        )


def _lock_run(connection: Connection, run_id: str) -> None:
    connection.execute(select(Run.id).where(Run.id == run_id).with_for_update())


_ROOT = select(Step.id).where(Step.id == bindparam("b_id"))


def _waited_for(connection: Connection, parent_id: str, number: int) -> bool:
    query = (
        select(Join.state, Join.round, Step.state.label("parent"))
        .join(Step, Step.id == Join.step_id)
        .where(Join.step_id == parent_id)
    )
    join = connection.execute(query).first()  # none: its run is being cleaned up
    return bool(
        join and join.state == "open" and join.round == number and join.parent == State.WAITING
    )


def _again(wake_grace_s: float, span_s: float | None) -> dict[Any, Any]:
    return {
        Step.state: State.READY,
        Step.attempts: 0,
        Step.token: Step.token + 1,
        Step.outcome: None,
        Step.settled: False,
        Step.finished_at: None,
        Step.worker_id: None,
        Step.ready_at: now(),
        Step.wake_at: now() + wake_grace_s,
        Step.wakes: 0,
        Step.cancel_requested: False,  # of before
        # As long as it had from the start, each time.
        Step.deadline_at: None if span_s is None else now() + span_s,
    }


def _of_message(row: Any) -> dict[str, Any]:
    return {
        "id": row.id,
        "kind": "message",
        "cause": row.cause,
        "reason": row.reason,
        "task": row.task,
        "step_id": row.step_id,
        "queue": row.queue,
        "attempts": None,
        "at": row.at,
    }


def _of_step(row: Any) -> dict[str, Any]:
    error = (row.outcome or {}).get("error") or {}
    return {
        "id": row.id,
        "kind": "step",
        "cause": "dead",
        "reason": redact(error.get("message", "")),
        "task": row.task,
        "step_id": row.id,
        "queue": row.queue,
        "attempts": row.attempts,
        "at": row.finished_at,
    }
