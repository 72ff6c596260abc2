"""Expanding: a pattern's members and its join, in the transaction that lets the pattern wait."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, ClassVar

from sqlalchemy import Connection, select, update

from app.journal import joins
from app.journal.claims import new_row
from app.journal.engine import read_clock
from app.journal.finishes import event
from app.journal.models import Step, table
from app.journal.rows import Aftermath, Claimed, NewStep, Wake, derived_id
from app.journal.writer import Operation
from app.plan import Expand, Member
from celery_agents.contracts.outcome import State

_S = table(Step).c


@dataclass(slots=True)
class Expanded(Aftermath):
    """The members to publish now, beside what a join that fired at once brings."""

    members: list[Wake] = field(default_factory=list)
    timer: Wake | None = None  # to publish for the join's deadline


class ExpandStep(Operation[Expanded]):
    """Insert members that are not there yet, open the join, let the step wait."""

    order: ClassVar[int] = 20

    def __init__(self, claim: Claimed, plan: Expand, rules: joins.Rules) -> None:
        super().__init__()
        self.claim = claim
        self.plan = plan
        self.rules = rules

    @classmethod
    def apply(cls, connection: Connection, operations: Sequence[ExpandStep]) -> list[Expanded]:
        return [_expand(connection, o) for o in operations]


def _expand(connection: Connection, o: ExpandStep) -> Expanded:
    claim = o.claim
    waiting = connection.execute(
        update(table(Step))
        .where(
            _S.id == claim.id,
            _S.token == claim.token,
            _S.state == State.RUNNING,
            _S.cancel_requested.is_(False),
        )
        .values(state=State.WAITING, worker_id=None, attempts=0)
        .returning(*joins.WAKE_COLUMNS)
    ).first()
    if waiting is None:
        return Expanded(applied=False)
    # By id: a join that expected a member twice would never be complete.
    wanted = {derived_id(claim.id, m.key): m for m in o.plan.members}
    number = joins.open_round(connection, claim.id, list(wanted), o.plan.join)
    members = _insert_members(connection, o, wanted, number)
    joins.recount(connection, claim.id, number)
    if o.plan.note is not None:
        connection.execute(event(claim.run_id, claim.id, "expanded", o.plan.note))
    fired = joins.fire_if_complete(connection, claim.id, o.rules)
    return Expanded(
        members=members,
        timer=None if o.plan.join.timeout_s is None else joins.wake_of(waiting),
        wakes=fired.wakes,
        cancels=fired.cancels,
    )


def _insert_members(
    connection: Connection, o: ExpandStep, wanted: dict[str, Member], number: int
) -> list[Wake]:
    """New members are inserted; listed ones of earlier rounds count in this round from now on."""
    at = read_clock(connection)
    before = connection.execute(
        select(_S.position).where(_S.parent_id == o.claim.id).order_by(_S.position.desc()).limit(1)
    ).scalar()
    start = 0 if before is None else before + 1
    rows = [
        new_row(_new_member(o.claim, m, i, start + n), at, o.rules.wake_grace_s)
        | {"round": number, "state": State.WAITING if m.waits else State.READY}
        for n, (i, m) in enumerate(wanted.items())
    ]
    if not rows:
        return []
    if before is not None:
        connection.execute(
            update(table(Step))
            .where(_S.parent_id == o.claim.id, _S.id.in_(wanted))
            .values(round=number)
        )
    made = set(connection.execute(_insertion(connection.dialect.name), rows).scalars())
    return [
        Wake(
            id=i,
            task=m.task,
            queue=o.claim.queue,
            priority=o.claim.priority,
            run_id=o.claim.run_id,
            parent_id=o.claim.id,
            agent=m.agent,
            payload=row["payload"],
            envelope=None,
        )
        for (i, m), row in zip(wanted.items(), rows, strict=True)
        if i in made and not m.waits
    ]


@cache
def _insertion(dialect: str) -> Any:
    """Of members that are not there yet; nobody needs more of them than which they are."""
    return joins.insertion(dialect, Step).returning(_S.id)


def _new_member(claim: Claimed, member: Member, step_id: str, position: int) -> NewStep:
    return NewStep(
        id=step_id,
        run_id=claim.run_id,
        task=member.task,
        queue=claim.queue,
        priority=claim.priority,
        payload={"args": [member.input], "kwargs": member.options},
        max_attempts=member.max_attempts,
        parent_id=claim.id,
        member=member.key,
        position=position,
        agent=member.agent,
        timeout_s=member.deadline_s,
    )
