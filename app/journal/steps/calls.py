"""The calls of a step: written down before they are made, and when they are over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Any, ClassVar

from sqlalchemy import Connection, bindparam, or_, select, text, update

from agents.governance.budgets import Amount
from app.journal.schema.engine import CLOCK_POSTGRESQL, as_json, now, read_clock
from app.journal.schema.models import Call, Step, table
from app.journal.schema.rows import Claimed
from app.journal.schema.sealed import opened_answer, sealed_by
from app.journal.schema.upsert import insertion
from app.journal.steps.spending import Reserved, Settled, as_text, book
from app.journal.writing import prepared
from app.journal.writing.operation import Operation
from app.journal.writing.prepared import TOO_LARGE, Shot
from celery_agents.contracts.outcome import ErrorInfo, State
from celery_agents.errors import AnswerTooLargeError


@dataclass(frozen=True, slots=True)
class Before:
    """The reply to a call that is made once at the most: an earlier claim began it."""

    at: float  # seconds since 1970, by the database's clock


class Begun(StrEnum):
    """The reply to a call that asks to begin."""

    YES = "yes"
    LOST = "lost"  # its step does not run under this claim any more
    KNOWN = "known"  # an earlier claim has finished it since its answers were read


class StartCall(Operation[Begun | Before]):
    """Write down a call before it is made, so that one in flight at a crash can be counted.

    ``identity`` says which one it is, in each claim (see app/execution/calls/identity.py). With
    ``once`` it does not begin where an earlier claim began it.
    """

    order: ClassVar[int] = 40

    def __init__(
        self,
        claim: Claimed,
        seq: int,
        name: str,
        identity: str,
        key: str,
        *,
        once: bool = False,
        reserved: Reserved | None = None,
    ) -> None:
        super().__init__()
        self.once = once
        self.reserves = reserved is not None
        self.row: dict[str, Any] = {
            "step_id": claim.id,
            "seq": seq,
            "token": claim.token,
            "name": name,
            "fingerprint": identity,
            "idempotency_key": key,
        }
        if reserved is not None:
            self.row |= {
                "reserved_nano_usd": reserved.amount.nano_usd,
                "counted_tokens": reserved.amount.tokens,
                "accounts": as_text(reserved.accounts),
            }

    @property
    def variety(self) -> int:
        return self.once + 2 * self.reserves

    @property
    def has_lite(self) -> bool:
        return not self.once

    @property
    def alone(self) -> bool:
        return self.once  # it locks its step

    @classmethod
    def shot(cls, operations: Sequence[StartCall]) -> Shot | None:
        if operations[0].once:
            return None
        rows = (o.row.values() for o in sorted(operations, key=_key))
        columns = [list(column) for column in zip(*rows, strict=True)]
        values = (*columns[:6], State.RUNNING.value, *columns[6:])
        way = prepared.START_RESERVED if operations[0].reserves else prepared.START_CALL
        return Shot(way, values, result=lambda _place, _row: Begun.YES)

    @classmethod
    def apply(cls, connection: Connection, operations: Sequence[StartCall]) -> list[Begun | Before]:
        at = read_clock(connection)
        in_order = sorted(operations, key=_key)  # as the shot writes them: copies may meet
        begun = {
            id(o): (_begin_once if o.once else _begin)(connection, o.row, at) for o in in_order
        }
        return [begun[id(o)] for o in operations]


def _key(one: StartCall) -> tuple[str, int, int]:
    return one.row["step_id"], one.row["seq"], one.row["token"]


def _begin(connection: Connection, row: dict[str, Any], at: float) -> Begun:
    values = {f"b_{name}": value for name, value in row.items()} | {"b_at": at}
    # Looked at and written in one statement: in between the step, or an earlier call, may end.
    connection.execute(_start(connection.dialect.name, tuple(row)), values)
    if connection.execute(_STARTED, values).first() is not None:
        return Begun.YES
    return Begun.KNOWN if connection.execute(_FINISHED, values).first() else Begun.LOST


def _begin_once(connection: Connection, row: dict[str, Any], at: float) -> Begun | Before:
    """Begin a call that no earlier claim began.

    The step's row is locked first: an earlier claim's begin, which looked at the row's token before
    this claim had it, is committed by then or finds its token gone.
    """
    values = {f"b_{name}": value for name, value in row.items()}
    connection.execute(_LOCK, values)
    earlier = connection.execute(_BEGUN, values).all()
    if any(r.finished_at is not None and _is_told(r.error) for r in earlier):
        return Begun.KNOWN
    unknown = [r.started_at for r in earlier if r.finished_at is None]
    return Before(min(unknown)) if unknown else _begin(connection, row, at)


_S = table(Step).c
_C = table(Call).c
_LOCK = select(_S.id).where(_S.id == bindparam("b_step_id")).with_for_update(read=True)
_BEGUN = select(_C.started_at, _C.finished_at, _C.error).where(
    _C.step_id == bindparam("b_step_id"),
    _C.token < bindparam("b_token"),
    _C.fingerprint == bindparam("b_fingerprint"),
)
_FINISHED = select(_C.seq).where(
    _C.step_id == bindparam("b_step_id"),
    _C.token < bindparam("b_token"),
    _C.fingerprint == bindparam("b_fingerprint"),
    _C.finished_at.is_not(None),
    or_(_C.error.is_(None), text(TOO_LARGE.replace("c.error", "calls.error"))),
)
_STARTED = select(_C.seq).where(
    _C.step_id == bindparam("b_step_id"),
    _C.seq == bindparam("b_seq"),
    _C.token == bindparam("b_token"),
)


@cache
def _start(dialect: str, names: tuple[str, ...]) -> Any:
    row = select(
        *(bindparam(f"b_{name}", type_=_C[name].type) for name in names),
        bindparam("b_at", type_=_C.started_at.type),
    ).where(
        select(_S.id)
        .where(
            _S.id == bindparam("b_step_id"),
            _S.token == bindparam("b_token"),
            _S.state == State.RUNNING,
        )
        .exists(),
        ~_FINISHED.exists(),
    )
    return insertion(dialect, table(Call)).from_select([*names, "started_at"], row)


_FINISH_CALL = (
    update(table(Call))
    .where(
        _C.step_id == bindparam("b_step"),
        _C.seq == bindparam("b_seq"),
        _C.token == bindparam("b_token"),
    )
    .values(
        finished_at=now(),
        answer=bindparam("b_answer", type_=_C.answer.type),
        error=bindparam("b_error", type_=_C.error.type),
        cost_usd=bindparam("b_cost_usd"),
    )
)


_SETTLE_CALL = _FINISH_CALL.where(_C.finished_at.is_(None)).values(
    reserved_nano_usd=None, counted_tokens=bindparam("b_counted", type_=_C.counted_tokens.type)
)


_FINISH_CALLS = text(
    f"""
    UPDATE calls SET finished_at = {CLOCK_POSTGRESQL},
        answer = CAST(v.answer AS json), error = CAST(v.error AS json), cost_usd = v.cost_usd
    FROM unnest(
        CAST(:steps AS text[]), CAST(:seqs AS integer[]), CAST(:tokens AS integer[]),
        CAST(:answers AS text[]), CAST(:errors AS text[]), CAST(:costs AS double precision[])
    ) AS v(step_id, seq, token, answer, error, cost_usd)
    WHERE calls.step_id = v.step_id AND calls.seq = v.seq AND calls.token = v.token
    """  # noqa: S608 - of our own constant
)


class FinishCall(Operation[None]):
    """Write down what a call answered; from then on it is not made again."""

    order: ClassVar[int] = 5

    def __init__(
        self,
        claim: Claimed,
        seq: int,
        answer: dict[str, Any] | None,
        error: ErrorInfo | None = None,
        *,
        cost_usd: float | None = None,
        settled: Settled | None = None,
    ) -> None:
        super().__init__()
        self.settled = settled
        self.claim = claim
        self.seq = seq
        self.answer = answer
        self.error = error
        self.cost_usd = cost_usd

    @property
    def variety(self) -> int:
        return self.settled is not None

    @classmethod
    def shot(cls, operations: Sequence[FinishCall]) -> Shot:
        arrays = tuple(_arrays(operations).values())
        if (settled := operations[0].settled) is None:
            return Shot(prepared.FINISH_CALL, arrays)
        amounts = (o.settled.amount if o.settled else Amount() for o in operations)
        booked = [as_text(o.settled.booked if o.settled else ()) for o in operations]
        sums = (list(column) for column in zip(*amounts, strict=True))
        return Shot(prepared.FINISH_RESERVED, (*arrays, *sums, booked, settled.writer))

    @classmethod
    def apply(cls, connection: Connection, operations: Sequence[FinishCall]) -> list[None]:
        plain = [o for o in operations if o.settled is None]
        if plain:
            cls._finish(connection, plain)
        if len(plain) < len(operations):
            _settle(connection, [o for o in operations if o.settled is not None])
        return [None] * len(operations)

    @classmethod
    def _finish(cls, connection: Connection, operations: Sequence[FinishCall]) -> None:
        if connection.dialect.name == "postgresql":
            connection.execute(_FINISH_CALLS, _arrays(operations))
        else:
            connection.execute(_FINISH_CALL, [_end(o) for o in operations])


def _end(one: FinishCall) -> dict[str, Any]:
    return {
        "b_step": one.claim.id,
        "b_seq": one.seq,
        "b_token": one.claim.token,
        "b_answer": one.answer,
        "b_error": None if one.error is None else one.error.compact(),
        "b_cost_usd": one.cost_usd,
    }


def _settle(connection: Connection, operations: Sequence[FinishCall]) -> None:
    """Finish calls under a budget; book what they cost where that was not done before."""
    booked = []
    for one in operations:
        assert one.settled is not None
        counted = one.settled.amount.tokens if one.settled.amount.calls else None
        if connection.execute(_SETTLE_CALL, _end(one) | {"b_counted": counted}).rowcount:
            booked.append(one.settled)
    book(connection, booked)


def finished(connection: Connection, step_id: str) -> dict[str, dict[str, Any]]:
    """See ``Journal.finished_calls``."""
    rows = connection.execute(
        select(_C.fingerprint, _C.answer, _C.error)
        .where(_C.step_id == step_id, _C.finished_at.is_not(None))
        .order_by(_C.token, _C.seq)
    )
    seals = sealed_by(connection)
    return {
        identity: opened_answer(seals, answer, step_id, identity) if error is None else error
        for identity, answer, error in rows
        if _is_told(error)
    }


def is_known(connection: Connection, step_id: str, identity: str, *, begun: bool) -> bool:
    """See ``Journal.knows_call``."""
    rows = connection.execute(
        select(_C.finished_at, _C.error).where(_C.step_id == step_id, _C.fingerprint == identity)
    )
    return any(begun if r.finished_at is None else _is_told(r.error) for r in rows)


def _is_told(error: dict[str, Any] | None) -> bool:
    """True for what a finished call told once and for all: an answer, or one too large to keep."""
    return error is None or error["kind"] == AnswerTooLargeError.kind


def _arrays(calls: Sequence[FinishCall]) -> dict[str, list[Any]]:
    return {
        "steps": [c.claim.id for c in calls],
        "seqs": [c.seq for c in calls],
        "tokens": [c.claim.token for c in calls],
        "answers": [None if c.answer is None else as_json(c.answer) for c in calls],
        "errors": [None if c.error is None else as_json(c.error.compact()) for c in calls],
        "costs": [c.cost_usd for c in calls],
    }
