"""Claiming: taking a step under a lease, before anything of it runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from sqlalchemy import Connection, Text, any_, bindparam, func, literal, or_, select, update
from sqlalchemy.dialects.postgresql import ARRAY

from app.journal.schema import locks
from app.journal.schema.engine import as_json, now, read_clock
from app.journal.schema.models import Join, Step, Worker, table
from app.journal.schema.new_steps import row_of
from app.journal.schema.rows import (
    Aftermath,
    Claim,
    Claimed,
    Finished,
    LazyPayload,
    NewStep,
    Refusal,
    Refused,
)
from app.journal.schema.sealed import sealed_step
from app.journal.steps import joins
from app.journal.steps.inserts import insert_steps, made
from app.journal.steps.outcomes import Conclusion, Seen, conclude
from app.journal.writing import prepared
from app.journal.writing.operation import Operation
from app.journal.writing.prepared import Shot
from celery_agents.contracts.outcome import ErrorInfo, Outcome, State
from celery_agents.errors import StepCancelledError, StepDeadError

_S = table(Step).c
#: The columns that a claim consists of.
CLAIMED = (
    _S.id,
    _S.token,
    _S.attempts,
    _S.run_id,
    _S.parent_id,
    _S.member,
    _S.task,
    _S.agent,
    _S.queue,
    _S.priority,
    _S.payload,
    _S.max_attempts,
    (_S.deadline_at - now()).label("remaining_s"),
    select(table(Join).c.policy)
    .where(table(Join).c.step_id == _S.parent_id, table(Join).c.max_concurrent.is_(None))
    .scalar_subquery()
    .label("policy"),
    (now() - _S.started_at).label("elapsed_s"),
    _S.tenant,
    (now() - _S.ready_at).label("waited_s"),
    _S.untrusted,
)
_PAYLOAD, _UNTRUSTED = 10, 17  # their places among them


class ClaimStep(Operation[Claim]):
    """Claim one step by its id; with ``new``, make its row on the way if it has none."""

    order: ClassVar[int] = 30
    final = False

    def __init__(
        self, step_id: str, worker_id: str, rules: joins.Rules, new: NewStep | None = None
    ) -> None:
        super().__init__()
        self.step_id = step_id
        self.worker_id = worker_id
        self.rules = rules
        self.new = new and sealed_step(rules.seals, new)
        self.at = 0.0  # when it was tried, by the database's clock

    @property
    def variety(self) -> int:
        return self.new is None

    @classmethod
    def shot(cls, operations: Sequence[ClaimStep]) -> Shot | None:
        if len({o.step_id for o in operations}) < len(operations):
            return None
        new = [o.new for o in operations if o.new is not None]
        return _making(operations[0], new) if new else _taking(operations)

    @property
    def alone(self) -> bool:
        return True

    @classmethod
    def apply(cls, connection: Connection, operations: Sequence[ClaimStep]) -> list[Claim]:
        first: dict[str, ClaimStep] = {}
        for operation in operations:
            first.setdefault(operation.step_id, operation)
        results = _claim(connection, list(first.values()))
        taken = Refused(Refusal.TAKEN)
        return [
            results[o.step_id] if first[o.step_id] is o else _repeated(results[o.step_id], taken)
            for o in operations
        ]


def _claim(connection: Connection, operations: list[ClaimStep]) -> dict[str, Claim]:
    """Claim different steps; a single one where rows are locked (see ``alone``)."""
    if not connection.execute(LEASED, {"b_worker": operations[0].worker_id}).scalar():
        return {o.step_id: Refused(Refusal.LAPSED) for o in operations}
    at = read_clock(connection)
    for operation in operations:
        operation.at = at  # one reading says what is early, however long the rest takes
    results: dict[str, Claim] = dict(_insert(connection, operations))
    left = [o for o in operations if o.step_id not in results]
    if left:
        places = connection.execute(_PLACES, {"b_ids": [o.step_id for o in left]}).all()
        locks.lock(connection, [lock for place in places for lock in _locks(place)])
        results |= _take(connection, left, {p.id: p.worker_id for p in places})
        for operation in left:
            if operation.step_id not in results:
                results[operation.step_id] = _explain(connection, operation)
    return results


def _locks(place: Any) -> list[tuple[str | None, str]]:
    """List the joins that a claim may write: its parent's if it ends, its own if that is late."""
    own = [(place.id, place.run_id)] if place.late else []
    return [(place.parent_id, place.run_id), *own]


def _making(one: ClaimStep, new: Sequence[NewStep]) -> Shot:
    """Prepare claims that make their rows."""
    payloads = [as_json(n.payload) for n in new]
    in_order = sorted(zip(new, payloads, strict=True), key=lambda pair: pair[0].id)
    rows, texts = [n for n, _ in in_order], [payload for _, payload in in_order]
    values = made(rows, texts, one.worker_id, one.rules.wake_grace_s)
    ids = [n.id for n in new]
    statement = prepared.CLAIM_ONE if len(new) == 1 else prepared.CLAIM
    return Shot(statement, values, ids, lambda place, _: _first(new[place], payloads[place]))


def _taking(operations: Sequence[ClaimStep]) -> Shot:
    """Prepare claims of rows that stand in the journal."""
    ids = [o.step_id for o in operations]
    values = (ids, operations[0].worker_id, State.READY.value, joins.EARLY_S)
    return Shot(prepared.TAKE, values, ids, _taken)


def _taken(_place: int, row: Any) -> Claimed:
    """Read a claimed row, in which the payload is text."""
    values = list(row)
    values[_PAYLOAD] = LazyPayload(values[_PAYLOAD])
    values[_UNTRUSTED] = bool(values[_UNTRUSTED])  # SQLite's is a number
    return Claimed(*values)


def _repeated(claim: Claim, taken: Refused) -> Claim:
    """Answer a second message for the same step in one batch: the first one has it."""
    return taken if isinstance(claim, Claimed) else claim


def _insert(connection: Connection, operations: list[ClaimStep]) -> dict[str, Claim]:
    """Make and claim rows in one go: the common way of a client's message."""
    fresh = [(o.new, o) for o in operations if o.new is not None]
    if not fresh:
        return {}
    at = read_clock(connection)
    rows = [
        row_of(new, at, o.rules.wake_grace_s)
        | {
            "state": State.RUNNING,
            "attempts": 1,
            "token": 1,
            "worker_id": o.worker_id,
            "started_at": at,
        }
        for new, o in fresh
    ]
    made = insert_steps(connection, rows)
    return {new.id: _first(new, as_json(new.payload)) for new, _ in fresh if new.id in made}


def _first(new: NewStep, payload: str) -> Claimed:
    """Return the first claim of a row that was made for it; its payload is as a reader sees it."""
    return Claimed(
        id=new.id,
        token=1,
        attempt=1,
        run_id=new.run_id,
        parent_id=new.parent_id,
        member=new.member,
        task=new.task,
        agent=new.agent,
        queue=new.queue,
        priority=new.priority,
        payload=LazyPayload(payload),
        max_attempts=new.max_attempts,
        remaining_s=new.timeout_s,
        tenant=new.tenant,
        untrusted=new.untrusted,
    )


_W = table(Worker).c
_ALIVE = select(_W.id).where(_W.lease_until > now())
#: The worker that claims, if it has its lease.
LEASED = select(_W.id).where(_W.id == bindparam("b_worker"), _W.lease_until > now())
_LATE = (
    select(literal(1))
    .select_from(table(Join))
    .where(
        table(Join).c.step_id == _S.id,
        table(Join).c.state == "open",
        table(Join).c.deadline_at <= now() + joins.EARLY_S,
    )
    .exists()
)
_PLACES = select(
    *(_S.id, _S.parent_id, _S.run_id, _S.worker_id),
    ((_S.state == State.WAITING) & _LATE).label("late"),
).where(_S.id.in_(bindparam("b_ids", expanding=True)))
# The claim of rows that stand in the journal: one statement for all of them, built once.
_TAKE = (
    update(table(Step))
    .where(
        _S.attempts < _S.max_attempts,
        _S.cancel_requested.is_(False),
    )
    .values(
        state=State.RUNNING,
        attempts=_S.attempts + 1,
        token=_S.token + 1,
        worker_id=bindparam("b_worker"),
        wakes=0,
        started_at=func.coalesce(_S.started_at, now()),
    )
    .returning(*CLAIMED)
)
_DUE = (_S.state == State.READY) & (_S.ready_at <= bindparam("b_at") + joins.EARLY_S)
_LOST = (_S.state == State.RUNNING) & _S.worker_id.not_in(_ALIVE)
_TAKES = {
    # The worker that the row had when it was looked at: a statement that waited for the row sees
    # its newest worker, and of the workers only those that there were when it began.
    "postgresql": _TAKE.where(
        _S.id == any_(bindparam("b_ids", type_=ARRAY(Text))),
        or_(_DUE, _LOST & (_S.worker_id == any_(bindparam("b_lost", type_=ARRAY(Text))))),
    ),
    "sqlite": _TAKE.where(
        _S.id.in_(bindparam("b_ids", expanding=True)),
        or_(_DUE, _LOST & _S.worker_id.in_(bindparam("b_lost", expanding=True))),
    ),
}


def _take(
    connection: Connection, operations: list[ClaimStep], workers: Mapping[str, str | None]
) -> dict[str, Claim]:
    """Claim rows that stand in the journal, of which these workers had some."""
    rows = connection.execute(
        _TAKES[connection.dialect.name],
        {
            "b_ids": [o.step_id for o in operations],
            "b_worker": operations[0].worker_id,
            "b_lost": sorted({w for w in workers.values() if w}),
            "b_at": max(o.at for o in operations),
        },
    )
    return {row.id: _claimed(row) for row in rows}


def _claimed(row: Any) -> Claimed:
    return Claimed(*row)


def _explain(connection: Connection, operation: ClaimStep) -> Claim:
    """Find out why a claim got nothing; end on the way what can be ended.

    Each look is one reading without a lock, and what it decides is written only to a row that is
    still so. Else, and where the row has become free since the claim, it is looked at again.
    """
    for _ in range(_LOOKS):
        row = connection.execute(_LOOK, {"b_id": operation.step_id, "b_at": operation.at}).first()
        if row is None:
            return Refused(Refusal.MISSING)
        claim = _judge(connection, operation, row)
        if claim is None:
            claim = _take(connection, [operation], {row.id: row.worker_id}).get(row.id)
        if claim is not None:
            return claim
    return Refused(Refusal.TAKEN)


#: A row that changes at each look is under way; its message is not needed.
_LOOKS = 10
_LOOK = select(
    *(_S.id, _S.state, _S.token, _S.outcome, _S.parent_id, _S.run_id, _S.worker_id),
    *(_S.attempts, _S.max_attempts, _S.error, _S.cancel_requested, _S.task, _S.payload),
    (_S.ready_at > bindparam("b_at") + joins.EARLY_S).label("early"),
    _S.worker_id.in_(_ALIVE).label("alive"),
    (now() - _S.started_at).label("elapsed_s"),
).where(_S.id == bindparam("b_id"))


def _judge(connection: Connection, operation: ClaimStep, row: Any) -> Claim | None:
    """Return the reply to a claim that the row's state asks for; None: it may be claimed now."""
    state = State(row.state)
    if state.final:
        outcome = Outcome.model_validate(row.outcome)
        told = (row.parent_id, Aftermath(), row.token, row.task, row.payload)
        return Finished(row.id, outcome, *told)
    if state is State.WAITING:
        return _late_join(connection, operation)
    if state is State.RUNNING and row.alive:
        if operation.again and row.worker_id == operation.worker_id:  # its first try was committed
            mine = select(*CLAIMED).where(_S.id == row.id, _S.token == row.token)
            known = connection.execute(mine).first()
            return None if known is None else _claimed(known)
        return Refused(Refusal.TAKEN)
    if row.cancel_requested or row.attempts >= row.max_attempts:
        return _give_up(connection, operation, row)
    return Refused(Refusal.EARLY) if state is State.READY and row.early else None


def _late_join(connection: Connection, operation: ClaimStep) -> Claim:
    """Handle a timer's message for a step that waits: its join may be past its deadline."""
    aftermath = joins.fire_if_late(connection, operation.step_id, operation.rules)
    if aftermath is None:
        return Refused(Refusal.WAITING)
    operation.at = math.inf  # what it has just made ready is due, however long that took
    claim = _take(connection, [operation], {}).get(operation.step_id, Refused(Refusal.TAKEN))
    return replace(claim, let_go=aftermath) if isinstance(claim, Claimed) else claim


def _give_up(connection: Connection, operation: ClaimStep, row: Any) -> Finished | None:
    """End a step that was cancelled, or whose attempts are used up; None when it has moved on."""
    if row.cancel_requested:
        state, error = State.CANCELLED, ErrorInfo.of(StepCancelledError())
    else:
        last = f" Its last error: {row.error['message']}" if row.error else ""
        text = (
            f"Given up after {row.attempts} attempts, the last without an end: "
            f"its worker may have died under it.{last}"
        )
        state, error = State.DEAD, ErrorInfo.of(StepDeadError(text))
    outcome = Outcome(state=state, error=error, attempts=row.attempts, duration_s=row.elapsed_s)
    seen = Seen(State(row.state), row.token, row.attempts, row.cancel_requested)
    ending = Conclusion(operation.step_id, None, outcome, row.parent_id, row.run_id, seen)
    aftermath = conclude(connection, [ending], operation.rules)[0]
    if not aftermath.applied:
        return None
    told = (row.token + 1, row.task, row.payload)
    return Finished(row.id, outcome, row.parent_id, aftermath, *told)
