"""Expanding: a pattern's members and its join, in the transaction that lets the pattern wait."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from sqlalchemy import Connection, select, update

from app.journal import joins
from app.journal.finishes import event
from app.journal.members import NewMember, insert_members
from app.journal.models import Step, table
from app.journal.rows import Aftermath, Claimed, Wake, derived_id
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
    before = connection.execute(
        select(_S.position).where(_S.parent_id == o.claim.id).order_by(_S.position.desc()).limit(1)
    ).scalar()
    if before is not None and wanted:
        connection.execute(
            update(table(Step))
            .where(_S.parent_id == o.claim.id, _S.id.in_(wanted))
            .values(round=number)
        )
    members = [NewMember(i, m, {"args": [m.input], "kwargs": m.options}) for i, m in wanted.items()]
    made = insert_members(
        connection,
        o.claim,
        members,
        start=0 if before is None else before + 1,
        number=number,
        wake_grace_s=o.rules.wake_grace_s,
    )
    return [_wake(o.claim, m) for m in members if m.id in made and not m.member.waits]


def _wake(claim: Claimed, new: NewMember) -> Wake:
    return Wake(
        id=new.id,
        task=new.member.task,
        queue=claim.queue,
        priority=claim.priority,
        run_id=claim.run_id,
        parent_id=claim.id,
        agent=new.member.agent,
        payload=new.payload,
        envelope=None,
    )
