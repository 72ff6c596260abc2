"""Claiming: taking a step under a lease, before anything of it runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

from sqlalchemy import Connection, Text, any_, bindparam, func, or_, select, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.engine import Row

from app.journal import joins, shots
from app.journal.conclusions import Conclusion, conclude
from app.journal.engine import as_json, now, read_clock
from app.journal.inserts import insert_steps, made, new_row
from app.journal.models import Join, Step, Worker, table
from app.journal.rows import Aftermath, Claim, Claimed, Finished, NewStep, Refusal, Refused
from app.journal.shots import Shot
from app.journal.writer import Operation
from celery_agents.contracts.outcome import ErrorInfo, Outcome, State
from celery_agents.errors import StepCancelledError, StepDeadError

_S = table(Step).c
_CLAIMED = (
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
    select(table(Join).c.policy).where(table(Join).c.step_id == _S.parent_id).scalar_subquery(),
    (now() - _S.started_at).label("elapsed_s"),
)
_PAYLOAD = 10  # its place among them


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
        self.new = new

    @property
    def variety(self) -> int:
        return self.new is None

    @property
    def has_lite(self) -> bool:
        return self.new is not None

    @classmethod
    def shot(cls, operations: Sequence[ClaimStep]) -> Shot | None:
        if len({o.step_id for o in operations}) < len(operations):
            return None
        new = [o.new for o in operations if o.new is not None]
        return _making(operations[0], new) if new else _taking(operations)

    @classmethod
    def apply(cls, connection: Connection, operations: Sequence[ClaimStep]) -> list[Claim]:
        first: dict[str, ClaimStep] = {}
        for operation in operations:
            first.setdefault(operation.step_id, operation)
        results: dict[str, Claim] = dict(_insert(connection, list(first.values())))
        left = [o for i, o in first.items() if i not in results]
        if left:
            results |= _take(connection, left)
            for operation in left:
                if operation.step_id not in results:
                    results[operation.step_id] = _explain(connection, operation)
        taken = Refused(Refusal.TAKEN)
        return [
            results[o.step_id] if first[o.step_id] is o else _repeated(results[o.step_id], taken)
            for o in operations
        ]


def _making(one: ClaimStep, new: Sequence[NewStep]) -> Shot:
    """Claims that make their rows."""
    payloads = [as_json(n.payload) for n in new]
    values = made(new, payloads, one.worker_id, one.rules.wake_grace_s)
    ids = [n.id for n in new]
    return Shot(shots.CLAIM, values, ids, lambda place, _: _first(new[place], payloads[place]))


def _taking(operations: Sequence[ClaimStep]) -> Shot:
    """Claims of rows that stand in the journal."""
    ids = [o.step_id for o in operations]
    values = (ids, operations[0].worker_id, State.READY.value, joins.EARLY_S)
    return Shot(shots.TAKE, values, ids, _taken)


def _taken(_place: int, row: Any) -> Claimed:
    """The row, in which the payload is text."""
    values = list(row)
    values[_PAYLOAD] = json.loads(values[_PAYLOAD])
    return Claimed(*values)


def _repeated(claim: Claim, taken: Refused) -> Claim:
    """A second message for the same step in one batch: the first one has it."""
    return taken if isinstance(claim, Claimed) else claim


def _insert(connection: Connection, operations: list[ClaimStep]) -> dict[str, Claim]:
    """Rows that are made and claimed in one go: the common way of a client's message."""
    fresh = [(o.new, o) for o in operations if o.new is not None]
    if not fresh:
        return {}
    at = read_clock(connection)
    rows = [
        new_row(new, at, o.rules.wake_grace_s)
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
    """The first claim of a row that was made for it; its payload as a reader of the row has it."""
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
        payload=json.loads(payload),
        max_attempts=new.max_attempts,
        remaining_s=new.timeout_s,
    )


_W = table(Worker).c
_ALIVE = select(_W.id).where(_W.lease_until > now())
# The claim of rows that stand in the journal: one statement for all of them, built once.
_TAKE = (
    update(table(Step))
    .where(
        or_(
            (_S.state == State.READY) & (_S.ready_at <= now() + joins.EARLY_S),
            (_S.state == State.RUNNING) & _S.worker_id.not_in(_ALIVE),
        ),
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
    .returning(*_CLAIMED)
)
_TAKES = {
    # One parameter, where an IN of many is text to write and to parse for each of them.
    "postgresql": _TAKE.where(_S.id == any_(bindparam("b_ids", type_=ARRAY(Text)))),
    "sqlite": _TAKE.where(_S.id.in_(bindparam("b_ids", expanding=True))),
}


def _take(connection: Connection, operations: list[ClaimStep]) -> dict[str, Claim]:
    """Claim rows that stand in the journal."""
    rows = connection.execute(
        _TAKES[connection.dialect.name],
        {"b_ids": [o.step_id for o in operations], "b_worker": operations[0].worker_id},
    )
    return {row.id: _claimed(row) for row in rows}


def _claimed(row: Any) -> Claimed:
    return Claimed(*row)


def _explain(connection: Connection, operation: ClaimStep) -> Claim:
    """Why a claim got nothing; what can be ended on the way, is."""
    row = connection.execute(
        select(
            Step.state,
            Step.outcome,
            Step.parent_id,
            Step.attempts,
            Step.max_attempts,
            Step.error,
            Step.cancel_requested,
            (Step.ready_at > now() + joins.EARLY_S).label("early"),
            Step.worker_id.in_(select(Worker.id).where(Worker.lease_until > now())).label("alive"),
            (now() - Step.started_at).label("elapsed_s"),
        ).where(Step.id == operation.step_id)
    ).first()
    if row is None:
        return Refused(Refusal.MISSING)
    state = State(row.state)
    if state.final:
        return Finished(Outcome.model_validate(row.outcome), row.parent_id, Aftermath())
    if state is State.WAITING:
        return _late_join(connection, operation)
    if state is State.RUNNING and row.alive:
        return Refused(Refusal.TAKEN)
    if state is State.READY and row.early and not row.cancel_requested:
        return Refused(Refusal.EARLY)
    return _give_up(connection, operation, row)


def _late_join(connection: Connection, operation: ClaimStep) -> Claim:
    """A timer's message for a step that waits: its join may have come to its deadline."""
    aftermath = joins.fire_if_late(connection, operation.step_id, operation.rules)
    if aftermath is None:
        return Refused(Refusal.WAITING)
    claim = _take(connection, [operation]).get(operation.step_id, Refused(Refusal.TAKEN))
    return replace(claim, cancels=aftermath.cancels) if isinstance(claim, Claimed) else claim


def _give_up(connection: Connection, operation: ClaimStep, row: Row[Any]) -> Claim:
    """End a step that was cancelled, or whose attempts are used up."""
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
    ending = Conclusion(operation.step_id, None, outcome, row.parent_id)
    aftermath = conclude(connection, [ending], operation.rules)[0]
    return Finished(outcome, row.parent_id, aftermath)
