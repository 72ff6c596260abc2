"""Finishing, each fenced by the claim's token: ended, to be tried again, given back, expanded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from sqlalchemy import Connection, insert, update

from app.journal import joins
from app.journal.engine import now
from app.journal.models import Call, Event, Step
from app.journal.rows import Aftermath, Claimed
from app.journal.writer import Operation
from celery_agents.contracts.outcome import ErrorInfo, Outcome, State


@dataclass(frozen=True, slots=True)
class Conclusion:
    """The end of a step. Without a token it ends whatever state it is in (unless ended)."""

    step_id: str
    token: int | None
    outcome: Outcome
    parent_id: str | None


def conclude(
    connection: Connection, conclusions: Sequence[Conclusion], rules: joins.Rules
) -> list[Aftermath]:
    """Write outcomes, count them in the joins of their parents, fire what is complete."""
    joins.lock(connection, (c.parent_id for c in conclusions))
    ended: list[tuple[str, int, bool]] = []
    results: list[Aftermath] = []
    for c in conclusions:
        row = _end(connection, c, rules.wake_grace_s)
        results.append(Aftermath(applied=row is not None))
        if row is None:
            continue
        if row.parent_id is not None:
            ended.append((row.parent_id, row.round, c.outcome.ok))
        else:
            usage = c.outcome.usage.compact()
            joins.end_run(connection, c.step_id, c.outcome.state, usage)
    fired = joins.count(connection, ended, rules)
    for c, result in zip(conclusions, results, strict=True):
        # Only one of a batch's members carries the wake of their common parent.
        follow = fired.pop(c.parent_id or "", None) if result.applied else None
        if follow is not None:
            result.wakes, result.cancels = follow.wakes, follow.cancels
    return results


def _end(connection: Connection, c: Conclusion, wake_grace_s: float) -> Any:
    fence = (
        (Step.state.in_([State.READY, State.RUNNING, State.WAITING]))
        if c.token is None
        else (Step.state == State.RUNNING) & (Step.token == c.token)
    )
    return connection.execute(
        update(Step)
        .where(Step.id == c.step_id, fence)
        .values(
            state=c.outcome.state,
            outcome=c.outcome.compact(),
            finished_at=now(),
            worker_id=None,
            token=Step.token + (1 if c.token is None else 0),
            # Who reads a member is its parent, through the join; only roots have successors.
            settled=c.parent_id is not None,
            wake_at=now() + wake_grace_s,
            wakes=0,
        )
        .returning(Step.parent_id, Step.round)
    ).first()


class FinishStep(Operation[Aftermath]):
    """End a claimed step, its last call with it."""

    order: ClassVar[int] = 10

    def __init__(self, claim: Claimed, outcome: Outcome, rules: joins.Rules) -> None:
        super().__init__()
        self.conclusion = Conclusion(claim.id, claim.token, outcome, claim.parent_id)
        self.rules = rules

    @classmethod
    def apply(cls, connection: Connection, operations: Sequence[FinishStep]) -> list[Aftermath]:
        return conclude(connection, [o.conclusion for o in operations], operations[0].rules)


class PostponeStep(Operation[Aftermath]):
    """Give a claimed step back, to be claimed again after ``delay_s``.

    With ``error`` it is a failed attempt; without, the attempt is not counted (not admitted for
    now, or its worker is stopping).
    """

    order: ClassVar[int] = 11

    def __init__(
        self, claim: Claimed, *, delay_s: float, wake_grace_s: float, error: ErrorInfo | None
    ) -> None:
        super().__init__()
        self.claim = claim
        self.delay_s = delay_s
        self.wake_grace_s = wake_grace_s
        self.error = error

    @classmethod
    def apply(cls, connection: Connection, operations: Sequence[PostponeStep]) -> list[Aftermath]:
        return [o._write(connection) for o in operations]  # noqa: SLF001 - its own class

    def _write(self, connection: Connection) -> Aftermath:
        error = self.error
        values: dict[Any, Any] = {
            Step.state: State.READY,
            Step.worker_id: None,
            Step.ready_at: now() + self.delay_s,
            Step.wake_at: now() + self.delay_s + self.wake_grace_s,
            Step.wakes: 0,
        }
        if error is None:
            values[Step.attempts] = Step.attempts - 1
        else:
            values[Step.error] = error.compact()
        applied = connection.execute(
            update(Step)
            .where(
                Step.id == self.claim.id,
                Step.token == self.claim.token,
                Step.state == State.RUNNING,
            )
            .values(values)
        ).rowcount
        if applied and error is not None:
            data = {
                "attempt": self.claim.attempt,
                "delay_s": round(self.delay_s, 3),
                "error": error.kind,
            }
            connection.execute(event(self.claim.run_id, self.claim.id, "retry", data))
        return Aftermath(applied=bool(applied))


def event(run_id: str, step_id: str, kind: str, data: dict[str, Any]) -> Any:
    """The statement that tells something about a step."""
    return insert(Event).values(run_id=run_id, step_id=step_id, at=now(), kind=kind, data=data)


class StartCall(Operation[None]):
    """Write down a call before it is made, so that one in flight at a crash can be counted."""

    order: ClassVar[int] = 40

    def __init__(self, claim: Claimed, seq: int, name: str, fingerprint: str, key: str) -> None:
        super().__init__()
        self.row = {
            "step_id": claim.id,
            "seq": seq,
            "token": claim.token,
            "name": name,
            "fingerprint": fingerprint,
            "idempotency_key": key,
            "started_at": now(),
        }

    @classmethod
    def apply(cls, connection: Connection, operations: Sequence[StartCall]) -> list[None]:
        connection.execute(joins.insert_new(connection, Call).values([o.row for o in operations]))
        return [None] * len(operations)


class FinishCall(Operation[None]):
    """Write down what a call answered; from then on it is not made again."""

    order: ClassVar[int] = 5

    def __init__(
        self,
        claim: Claimed,
        seq: int,
        answer: dict[str, Any] | None,
        error: ErrorInfo | None = None,
    ) -> None:
        super().__init__()
        self.claim = claim
        self.seq = seq
        self.answer = answer
        self.error = error

    @classmethod
    def apply(cls, connection: Connection, operations: Sequence[FinishCall]) -> list[None]:
        for o in operations:
            connection.execute(
                update(Call)
                .where(
                    Call.step_id == o.claim.id,
                    Call.seq == o.seq,
                    Call.token == o.claim.token,
                )
                .values(
                    finished_at=now(),
                    answer=o.answer,
                    error=None if o.error is None else o.error.compact(),
                )
            )
        return [None] * len(operations)


class Settle(Operation[None]):
    """A finished step's result is stored and its successors are published."""

    order: ClassVar[int] = 50

    def __init__(self, step_id: str) -> None:
        super().__init__()
        self.step_id = step_id

    @classmethod
    def apply(cls, connection: Connection, operations: Sequence[Settle]) -> list[None]:
        connection.execute(
            update(Step).where(Step.id.in_([o.step_id for o in operations])).values(settled=True)
        )
        return [None] * len(operations)
