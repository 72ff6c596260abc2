"""Finishing, each fenced by the claim's token: ended, to be tried again, given back, expanded."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, ClassVar, Self

from sqlalchemy import Connection, bindparam, case, func, insert, select, update

from app.journal.schema import locks
from app.journal.schema.engine import as_json, now
from app.journal.schema.models import Event, Step, table
from app.journal.schema.rows import Aftermath, Claimed, NewEntry, NewExchange, NewMemory
from app.journal.schema.sealed import sealed_end
from app.journal.schema.wake_columns import WAKE_COLUMNS, wake_of
from app.journal.steps import joins
from app.journal.steps.outcomes import Conclusion, conclude
from app.journal.writing import prepared
from app.journal.writing.operation import Operation
from app.journal.writing.prepared import Shot
from celery_agents.contracts.flows.entries import HISTORY
from celery_agents.contracts.outcome import FREE, ErrorInfo, Outcome, State


class FinishStep(Operation[Aftermath]):
    """End a claimed step, its last call with it; what it adds to a session, streams, memories.

    ``lets_go``: members of it may be open, and are let go of. ``begins``: of a flow, whose first
    entry is of its history: lines before that place are deleted. ``told``: its row says that
    somebody is told of its end.
    """

    order: ClassVar[int] = 10

    def __init__(
        self,
        claim: Claimed,
        outcome: Outcome,
        rules: joins.Rules,
        exchange: NewExchange | None = None,
        entries: Sequence[NewEntry] = (),
        *,
        lets_go: bool = False,
        begins: int = 0,
        told: bool = False,
        memories: Sequence[NewMemory] = (),
        lesson: NewMemory | None = None,
    ) -> None:
        super().__init__()
        outcome, exchange = sealed_end(rules.seals, claim, outcome, exchange)
        self.conclusion = Conclusion(
            *(claim.id, claim.token, outcome, claim.parent_id, claim.run_id),
            exchange=exchange,
            entries=entries,
            lets_go=lets_go,
            begins=begins,
            memories=memories,
            lesson=lesson,
        )
        self.rules = rules
        # With the end of one that is told, the row that does so is written.
        more = exchange is not None or lets_go or begins or told or memories or lesson
        self._shot = _Shot.NONE if more else _shot_for(claim, outcome)
        if entries:
            own = rules.seals is None and _are_lines_of(claim, entries)
            self._shot = _Shot.FLOWS if own and self._shot is _Shot.ROOTS else _Shot.NONE

    @property
    def variety(self) -> int:
        return self._shot

    @property
    def has_lite(self) -> bool:
        return self._shot is not _Shot.NONE

    @property
    def alone(self) -> bool:
        end = self.conclusion
        return bool(end.memories or end.lesson)  # it holds its root's row, or that of a space

    @property
    def locks(self) -> Collection[locks.Lock]:
        end = self.conclusion
        own = [(end.step_id, end.run_id)] if end.lets_go else []
        return [(end.parent_id, end.run_id), *own]

    @classmethod
    def shot(cls, operations: Sequence[FinishStep]) -> Shot | None:
        ends = [o.conclusion for o in operations]
        if len({c.step_id for c in ends}) < len(ends):
            return None
        grace_s = operations[0].rules.wake_grace_s
        match operations[0].variety:
            case _Shot.ROOTS:
                return _of_roots(ends, grace_s)
            case _Shot.MEMBERS:
                return _of_members(ends, grace_s)
            case _Shot.FLOWS:
                return _of_flows(ends, grace_s)
        return None

    @classmethod
    def apply(cls, connection: Connection, operations: Sequence[FinishStep]) -> list[Aftermath]:
        return conclude(connection, [o.conclusion for o in operations], operations[0].rules)


class _Shot(IntEnum):
    """Which shot may write an end."""

    ROOTS = 0
    MEMBERS = 1
    FLOWS = 2
    NONE = 3


def _shot_for(claim: Claimed, outcome: Outcome) -> _Shot:
    if claim.parent_id is None:
        return _Shot.ROOTS if outcome.ok else _Shot.NONE
    counted = {"all": True, "any": True, "unbroken": outcome.ok, "first": not outcome.ok}
    plain = counted.get(claim.policy or "", False) and outcome.compensation is None
    return _Shot.MEMBERS if plain else _Shot.NONE


def _are_lines_of(claim: Claimed, entries: Sequence[NewEntry]) -> bool:
    """Return whether entries are of the history of a flow, which nobody else adds to."""
    own = (claim.tenant, HISTORY + claim.id)
    return all((e.tenant, e.stream) == own and e.key is None for e in entries)


def _of_roots(ends: Sequence[Conclusion], grace_s: float) -> Shot:
    many, ids = _roots(ends, grace_s), [c.step_id for c in ends]
    if len(ids) == 1:
        one = tuple(v[0] if isinstance(v, list) else v for v in many)
        return Shot(prepared.FINISH_ONE, one, ids, lambda _place, _row: Aftermath())
    return Shot(prepared.FINISH, many, ids, lambda _place, _row: Aftermath())


def _of_flows(ends: Sequence[Conclusion], grace_s: float) -> Shot:
    lines = [
        as_json([[e.kind, (data := as_json(e.data)), len(data)] for e in c.entries]) for c in ends
    ]
    streams = [c.entries[0].tenant for c in ends], [c.entries[0].stream for c in ends]
    values = (*_roots(ends, grace_s), *streams, lines)
    ids = [c.step_id for c in ends]
    return Shot(prepared.FINISH_FLOWS, values, ids, lambda _place, _row: Aftermath())


def _roots(ends: Sequence[Conclusion], grace_s: float) -> tuple[Any, ...]:
    """Return the values of ends of roots, in the order of :data:`prepared.FINISH`."""
    return (
        [c.step_id for c in ends],
        [c.token for c in ends],
        State.RUNNING.value,
        [as_json(c.outcome.compact()) for c in ends],
        grace_s,
        [as_json(u.compact()) if (u := c.outcome.usage) is not FREE else "{}" for c in ends],
    )


def _of_members(ends: Sequence[Conclusion], grace_s: float) -> Shot:
    ids = [c.step_id for c in ends]
    values = (
        *(ids, [c.token for c in ends], [c.parent_id for c in ends]),
        [c.outcome.state.value for c in ends],
        [as_json(c.outcome.compact()) for c in ends],
        *(State.RUNNING.value, grace_s),
        # Joins below others are locked under their root's, which all roots' come before (locks.py).
        sorted({c.run_id for c in ends}) if any(c.parent_id != c.run_id for c in ends) else [],
    )
    return Shot(prepared.FINISH_MEMBERS, values, ids, _with_wake)


def _with_wake(_place: int, row: Sequence[Any]) -> Aftermath:
    """Read from an ended row the wake of its parent, if this end fired the parent's join."""
    _, step_id, *about, payload, envelope, tenant = row
    if step_id is None:
        return Aftermath()
    values = [
        step_id,
        *about,
        json.loads(payload),
        None if envelope is None else json.loads(envelope),
        tenant,
    ]
    return Aftermath(wakes=[wake_of(values)])


@dataclass(slots=True)
class Postponed(Aftermath):
    """The effects of postponing a step, or of its end if it was cancelled."""

    outcome: Outcome | None = None  # how it ended instead, being cancelled

    @classmethod
    def ended_by(cls, ending: Conclusion, after: Aftermath) -> Self:
        """Return the effects of an end, with its outcome if it was written."""
        outcome = ending.outcome if after.applied else None
        return cls(after.applied, after.wakes, after.cancels, after.ended, outcome)


class PostponeStep(Operation[Postponed]):
    """Give a claimed step back, to be claimed again after ``delay_s``.

    One that is cancelled ends: nobody would wake it for that. It ends with ``cancelled``, which
    tells what it has cost.

    With ``error`` it is a failed attempt or, with ``refused_within_s``, none: it was refused for
    now, and if it has no deadline that many seconds are one. Without, its worker stops: the attempt
    is not counted, and another worker is woken.
    """

    order: ClassVar[int] = 11

    def __init__(
        self,
        claim: Claimed,
        *,
        delay_s: float,
        error: ErrorInfo | None,
        cancelled: Outcome,
        rules: joins.Rules,
        refused_within_s: float | None = None,
        woken_in_s: float | None = None,
        noted: tuple[str, dict[str, Any]] | None = None,
    ) -> None:
        super().__init__()
        self.ending = Conclusion(claim.id, claim.token, cancelled, claim.parent_id, claim.run_id)
        self.rules = rules
        self.claim = claim
        self.delay_s = delay_s
        self.error = error
        self.refused_within_s = refused_within_s
        # Somebody wakes it; recovery looks when that was not done by then.
        self.unwoken_s = rules.wake_grace_s + (delay_s if woken_in_s is None else woken_in_s)
        self.counted = error is not None and refused_within_s is None
        self.noted = noted

    @property
    def variety(self) -> int:
        return self.error is None

    @property
    def has_lite(self) -> bool:
        return self.error is not None  # else its wake is told

    @property
    def locks(self) -> Collection[locks.Lock]:
        return [(self.claim.parent_id, self.claim.run_id)]

    @classmethod
    def shot(cls, operations: Sequence[PostponeStep]) -> Shot | None:
        ids = [o.claim.id for o in operations]
        if not operations[0].has_lite or len({*ids}) < len(ids):
            return None
        events = [o.event or (None, None) for o in operations]
        values = (
            *(ids, [o.claim.token for o in operations], State.RUNNING.value),
            [None if o.error is None else as_json(o.error.compact()) for o in operations],
            *([o.delay_s for o in operations], [o.unwoken_s for o in operations]),
            *([int(not o.counted) for o in operations], [o.refused_within_s for o in operations]),
            [kind for kind, _ in events],
            [None if data is None else as_json(data) for _, data in events],
        )
        return Shot(prepared.POSTPONE, values, ids, lambda _place, _row: Postponed())

    @property
    def event(self) -> tuple[str, dict[str, Any]] | None:
        """The event of it, with what that says."""
        if self.error is None or not self.counted:
            return self.noted
        delay_s = round(self.delay_s, 3)
        attempt = self.claim.attempt
        return "retry", {"attempt": attempt, "delay_s": delay_s, "error": self.error.kind}

    @classmethod
    def apply(cls, connection: Connection, operations: Sequence[PostponeStep]) -> list[Postponed]:
        locks.lock(connection, (lock for o in operations for lock in o.locks))
        locks.lock_steps(connection, (o.claim.id for o in operations))
        # Nobody cancels one from here on: that takes the join above it, or its row.
        ids = sorted({o.claim.id for o in operations})
        found = connection.execute(_CANCELLED, {"b_ids": ids})
        cancelled = {(row.id, row.token) for row in found}
        ending = [o for o in operations if (o.claim.id, o.claim.token) in cancelled]
        ends = [o.ending for o in ending]
        ended = conclude(connection, ends, operations[0].rules) if ends else []
        results = {
            id(o): Postponed.ended_by(end, after)
            for o, end, after in zip(ending, ends, ended, strict=True)
        }
        return [results.get(id(o)) or o._write(connection) for o in operations]  # noqa: SLF001

    def _write(self, connection: Connection) -> Postponed:
        error = self.error
        values: dict[Any, Any] = {
            Step.state: State.READY,
            Step.worker_id: None,
            Step.ready_at: now() + self.delay_s,
            Step.wake_at: now() + self.unwoken_s,
            Step.wakes: 0,
        }
        if not self.counted:
            values[Step.attempts] = Step.attempts - 1
        if error is not None:
            values[Step.error] = error.compact()
        if self.refused_within_s is not None:
            limit = now() + self.refused_within_s
            values[Step.deadline_at] = func.coalesce(Step.deadline_at, limit)
        row = connection.execute(
            update(Step)
            .where(
                Step.id == self.claim.id,
                Step.token == self.claim.token,
                Step.state == State.RUNNING,
                Step.cancel_requested.is_(False),
            )
            .values(values)
            .returning(*WAKE_COLUMNS)
        ).first()
        if row is not None and (told := self.event) is not None:
            connection.execute(event(self.claim.run_id, self.claim.id, *told))
        given_back = row is not None and error is None
        return Postponed(applied=row is not None, wakes=[wake_of(row)] if given_back else [])


def event(run_id: str, step_id: str, kind: str, data: dict[str, Any]) -> Any:
    """Return the INSERT of an event of a step."""
    return insert(Event).values(run_id=run_id, step_id=step_id, at=now(), kind=kind, data=data)


_S = table(Step).c
_CANCELLED = select(_S.id, _S.token).where(
    _S.id.in_(bindparam("b_ids", expanding=True)),
    _S.state == State.RUNNING,
    _S.cancel_requested.is_(True),
)
_SETTLE = (
    update(table(Step))
    .where(
        _S.id == bindparam("b_id"),
        _S.token == func.coalesce(bindparam("b_token", type_=_S.token.type), _S.token),
    )
    .values(settled=True, envelope=case((_S.state != State.SUCCEEDED, _S.envelope)))
)


class Settle(Operation[None]):
    """Note that a finished step's result is stored and its successors are published.

    Of the end that left this token alone; without one, of whatever end.
    """

    order: ClassVar[int] = 50
    final = False
    lazy = True

    def __init__(self, step_id: str, token: int | None) -> None:
        super().__init__()
        self.step_id = step_id
        self.token = token

    @classmethod
    def shot(cls, operations: Sequence[Settle]) -> Shot:
        ends = sorted(((o.step_id, o.token) for o in operations), key=lambda end: end[0])
        return Shot(prepared.SETTLE, ([i for i, _ in ends], [token for _, token in ends]))

    @classmethod
    def apply(cls, connection: Connection, operations: Sequence[Settle]) -> list[None]:
        ends = sorted(((o.step_id, o.token) for o in operations), key=lambda end: end[0])
        connection.execute(_SETTLE, [{"b_id": i, "b_token": token} for i, token in ends])
        return [None] * len(operations)
