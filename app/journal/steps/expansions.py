"""Expanding: a pattern's members and its join, in the transaction that lets the pattern wait."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from sqlalchemy import Connection, bindparam, func, select, update

from agents.plan import AwaitedAny, Expand, PageOfMembers
from app.journal import resting
from app.journal.actors import mailbox
from app.journal.schema import locks, parking
from app.journal.schema.models import Join, Step, table
from app.journal.schema.rows import Aftermath, Claimed, NewEntry, Wake, derived_id
from app.journal.schema.wake_columns import WAKE_COLUMNS, wake_of
from app.journal.steps import anyhow, caps, joins
from app.journal.steps.bounds import Bound
from app.journal.steps.entries import append, forget
from app.journal.steps.finishes import event
from app.journal.steps.members import (
    NewMember,
    answered_once,
    end_members,
    insert_members,
    new_members,
)
from app.journal.writing import prepared
from app.journal.writing.operation import Operation
from app.journal.writing.prepared import Shot
from celery_agents.contracts.flows.entries import HISTORY
from celery_agents.contracts.outcome import State

log = logging.getLogger(__name__)
_S = table(Step).c


@dataclass(slots=True)
class Expanded(Aftermath):
    """The members to publish now, beside what a join that fired at once brings."""

    members: list[Wake] = field(default_factory=list)
    timer: Wake | None = None  # to publish for the join's deadline


class ExpandStep(Operation[Expanded]):
    """Insert members that are not there yet, open the join, let the step wait.

    A pattern that has looked at ``ended_members`` ended ones, and wants nobody else, would be asked
    the same for ever: that is a ValueError.

    Raises:
        PayloadTooLargeError: its members' rows would hold more than the rules allow.
    """

    order: ClassVar[int] = 20

    def __init__(
        self,
        claim: Claimed,
        plan: Expand,
        rules: joins.Rules,
        ended_members: int | None = None,
        *,
        bounds: Sequence[Bound] = (),
        entries: Sequence[NewEntry] = (),
    ) -> None:
        super().__init__()
        self.claim = claim
        self.plan = plan
        self.rules = rules
        self.ended_members = ended_members
        self.bounds = bounds
        self.entries = entries
        self.resumes = any(m.ended is not None for m in plan.members)
        self.members = new_members(claim, plan.members, rules.spread_limit_bytes, rules.seals)
        self.rest = _rest_of(claim, plan, entries)

    @property
    def variety(self) -> int:
        plan = self.plan
        few = 0 < len(plan.members) <= _FEW and not (self.entries or plan.awaited)
        plain = plan.join.max_concurrent is None and plan.join.since is None
        few = few and plain and not (self.resumes or plan.page)
        few = few and not (self.bounds and self.claim.parent_id)  # others of its run may have paid
        return not (few and self.claim.token == 1 and plan.note is None and not self.of_team)

    @property
    def of_team(self) -> bool:
        """True when an agent asks others, and not a person alone."""
        return self.plan.team and any(not m.waits for m in self.plan.members)

    @property
    def has_lite(self) -> bool:
        return self.variety == 0

    @property
    def alone(self) -> bool:
        return True

    @property
    def shares(self) -> bool:
        return self.rest is not None

    @classmethod
    def shot(cls, operations: Sequence[ExpandStep]) -> Shot | None:
        return _shot(operations) if operations[0].variety == 0 else None

    @classmethod
    def apply(cls, connection: Connection, operations: Sequence[ExpandStep]) -> list[Expanded]:
        rests = [rest for o in operations if (rest := o.rest) is not None]
        rested = iter(resting.rest(connection, rests, operations[0].rules))
        return [
            _one(connection, o) if o.rest is None else _rested(next(rested)) for o in operations
        ]


#: Members up to which one statement may hold all of an expansion's.
_FEW = 1_000


def _shot(operations: Sequence[ExpandStep]) -> Shot:
    """Prepare first expansions, as they most likely are."""
    wanted = [o.members for o in operations]
    steps, members = [], []
    in_order = sorted(zip(operations, wanted, strict=True), key=lambda pair: pair[0].claim.id)
    for o, news in in_order:
        claim, join = o.claim, o.plan.join
        expected = 1 if join.kind == "any" else len(news)
        steps.append((claim.id, claim.token, join.kind, join.keep, expected, join.timeout_s))
        for place, new in enumerate(news):
            members.append((claim.id, *new.columns(place)))
    common = (State.RUNNING.value, operations[0].rules.wake_grace_s)

    def result(place: int, row: Sequence[Any]) -> Expanded:
        claim = operations[place].claim
        timed = operations[place].plan.join.timeout_s is not None
        envelope = None if row[1] is None else json.loads(row[1])
        return Expanded(
            members=[_wake(claim, new) for new in wanted[place] if not new.member.waits],
            timer=Wake.of(claim, envelope) if timed else None,
        )

    ids = [o.claim.id for o in operations]
    return Shot(prepared.EXPAND, (*_columns(steps), *common, *_columns(members)), ids, result)


def _columns(rows: Sequence[tuple[Any, ...]]) -> Iterator[list[Any]]:
    return (list(column) for column in zip(*rows, strict=True))


def _rest_of(claim: Claimed, plan: Expand, entries: Sequence[NewEntry]) -> resting.Rest | None:
    """A root's wait for anything, where it wants no members; None: it is something else."""
    wants = plan.members or plan.note is not None or claim.parent_id is not None
    if plan.awaited is None or plan.awaited.lets_go or wants:
        return None
    return resting.Rest(claim, plan.join, plan.awaited, entries)


def _rested(after: Aftermath) -> Expanded:
    return Expanded(after.applied, wakes=after.wakes)


def _one(connection: Connection, o: ExpandStep) -> Expanded:
    return _expand(connection, o) if o.plan.page is None else _on(connection, o, o.plan.page)


def _expand(connection: Connection, o: ExpandStep) -> Expanded:
    claim = o.claim
    if claim.token > 1 or o.of_team:  # else there is no join of it, and none of its run is counted
        locks.lock(connection, [(claim.id, claim.run_id)])
    held = {"b_id": claim.id, "b_token": claim.token}
    waiting = connection.execute(_WAIT, held).first()
    if waiting is None:
        return Expanded(applied=False)
    wanted: Sequence[NewMember] = o.members
    if o.of_team:
        wanted = answered_once(connection, claim, wanted, o.rules.seals)
    open_ = sum(new.member.ended is None for new in wanted)
    number = joins.open_round(connection, claim.id, open_, o.plan.join)
    members = _insert_members(connection, o, wanted, number)
    asked = [member.id for member in members]
    counted = asked and (o.of_team or o.bounds)
    refused = caps.refuse(connection, claim, asked, o.rules.caps, o.bounds) if counted else {}
    turn = members[: o.plan.join.max_concurrent] if number == 1 else members
    members = [member for member in turn if member.id not in refused]
    if o.plan.note is not None:
        connection.execute(event(claim.run_id, claim.id, "expanded", o.plan.note))
    if o.plan.awaited is not None:
        fired = anyhow.go_on(connection, claim, o.plan.awaited, o.rules)
    elif number == 1 and open_ and not refused:
        fired = Aftermath()  # none of its members has begun
    else:
        joins.recount(connection, claim.id, number)
        fired = joins.fire_if_complete(connection, claim.id, o.rules)
        if fired.wakes and not members:
            _refuse_vain(connection, o)
    if o.entries:  # streams come last of what is locked
        append(connection, o.entries)
    if o.plan.awaited is not None and o.plan.awaited.begins:
        _shorten(connection, claim, o.plan.awaited)
    return Expanded(
        members=members,
        timer=None if o.plan.join.timeout_s is None else wake_of(waiting),
        wakes=fired.wakes,
        cancels=fired.cancels,
        ended=[*refused.values(), *fired.ended],
    )


def _on(connection: Connection, o: ExpandStep, page: PageOfMembers) -> Expanded:
    """Expand a step by a page more; as :func:`_expand`."""
    claim = o.claim
    if claim.token > 1:  # else there is no join of it
        locks.lock(connection, [(claim.id, claim.run_id)])
    waiting = connection.execute(_WAIT, {"b_id": claim.id, "b_token": claim.token}).first()
    if waiting is None:
        return Expanded(applied=False)
    found = _expand_page(connection, o, page)
    if page.start == 0 and o.plan.join.timeout_s is not None:  # of all pages there is one join
        found.timer = wake_of(waiting)
    return found


def _expand_page(connection: Connection, o: ExpandStep, page: PageOfMembers) -> Expanded:
    """Insert a page of members, while those of the pages before it run and are counted.

    So many of it begin as turns are free by now. If the join has fired meanwhile, nobody does. As
    long as pages are to come it expects more than there are, so that it fires by none of its ends.
    """
    claim, turns = o.claim, o.plan.join.max_concurrent
    known = connection.execute(_JOIN, {"b_id": claim.id}).first()
    if known is None:
        joins.open_round(connection, claim.id, page.expected, o.plan.join)
    elif known.state != "open":
        return Expanded(wakes=joins.ready(connection, [claim.id], o.rules).wakes)
    new = _insert_page(connection, o, page)
    asked = [one.id for one in new if one.member.ended is None]
    refused = caps.refuse(connection, claim, asked, o.rules.caps, o.bounds) if o.bounds else {}
    if refused:
        joins.recount(connection, claim.id, 1)
        connection.execute(_NO_TURNS, {"b_id": claim.id, "b_number": len(refused)})
    if not page.more:
        connection.execute(_ALL_THERE, {"b_id": claim.id})
    if turns is None:
        begun = set(asked) - refused.keys()
        members = [_wake(claim, one) for one in new if one.id in begun]
    else:
        had = turns + (0 if known is None else known.done)
        free: list[str | None] = [None] * min(max(had - page.turn, 0), len(asked))
        about: Any = {"least": page.start}
        members = parking.release(connection, claim.id, free, o.rules.wake_grace_s, **about)
    fired = joins.fire_if_complete(connection, claim.id, o.rules)
    if page.more:
        fired.add(joins.ready(connection, [claim.id], o.rules))
    ended = [*refused.values(), *fired.ended]
    return Expanded(members=members, wakes=fired.wakes, cancels=fired.cancels, ended=ended)


def _insert_page(connection: Connection, o: ExpandStep, page: PageOfMembers) -> Sequence[NewMember]:
    """Insert a page's members, all of them parked where turns are counted."""
    parked = parking.NOBODY if o.plan.join.max_concurrent is None else page.start
    about: Any = {"start": page.start, "number": 1, "parked": parked}
    about["wake_grace_s"] = o.rules.wake_grace_s
    wanted: Sequence[NewMember] = o.members
    made = insert_members(connection, o.claim, wanted, **about)
    if len(made) < len(wanted):
        wanted = _free(connection, o.claim, wanted)
        made |= insert_members(connection, o.claim, wanted, **about)
    new = [one for one in wanted if one.id in made]
    end_members(connection, new, o.rules.seals)
    return new


_J = table(Join).c
_JOIN = select(_J.state, _J.done).where(_J.step_id == bindparam("b_id"))
_OF_JOIN = update(table(Join)).where(_J.step_id == bindparam("b_id"))
#: With those that have ended this is how many have had a turn: these end, and had none.
_NO_TURNS = _OF_JOIN.values(max_concurrent=_J.max_concurrent - bindparam("b_number"))
_ALL_THERE = _OF_JOIN.values(
    expected=select(func.count())
    .where(_S.parent_id == bindparam("b_id"), _S.round == 1)
    .scalar_subquery()
)


def _shorten(connection: Connection, claim: Claimed, awaited: AwaitedAny) -> None:
    """Delete what stands before the history of a flow, and of an actor what it has taken up."""
    forget(connection, claim.tenant, HISTORY + claim.id, awaited.begins)
    if awaited.keeps_s is not None:
        mailbox.trim(connection, claim, awaited.heard, awaited.keeps_s)


def _refuse_vain(connection: Connection, o: ExpandStep) -> None:
    known = o.ended_members
    if known is not None and joins.ended(connection, o.claim.id) <= known:
        raise ValueError("it asks for members that have ended, and would do so for ever")


_WAIT = (
    update(table(Step))
    .where(
        _S.id == bindparam("b_id"),
        _S.token == bindparam("b_token"),
        _S.state == State.RUNNING,
        _S.cancel_requested.is_(False),
    )
    .values(state=State.WAITING, worker_id=None, attempts=0)
    .returning(*WAKE_COLUMNS)
)


def _insert_members(
    connection: Connection, o: ExpandStep, wanted: Sequence[NewMember], number: int
) -> list[Wake]:
    """Insert new members; listed ones of earlier rounds count in this round from now on."""
    start = 0
    goes_on = o.plan.awaited is not None and o.claim.token > 1  # in its first round
    if wanted and (number > 1 or goes_on):
        wanted = _free(connection, o.claim, wanted)
        if number > 1:
            listed = [new.id for new in wanted]
            connection.execute(_MOVE, {"b_id": o.claim.id, "b_ids": listed, "b_round": number})
        last = connection.execute(_LAST, {"b_id": o.claim.id}).scalar()
        start = 0 if last is None else last + 1
    about: Any = {"start": start, "number": number, "wake_grace_s": o.rules.wake_grace_s}
    if number == 1 and o.plan.join.max_concurrent is not None:
        asked = [place for place, new in enumerate(wanted) if new.member.ended is None]
        about["parked"] = dict(enumerate(asked)).get(o.plan.join.max_concurrent, parking.NOBODY)
    made = insert_members(connection, o.claim, wanted, **about)
    if number == 1 and len(made) < len(wanted):
        wanted = _free(connection, o.claim, wanted)
        made |= insert_members(connection, o.claim, wanted, **about)
    new = [m for m in wanted if m.id in made]
    end_members(connection, new, o.rules.seals)
    return [_wake(o.claim, m) for m in new if not m.member.waits and m.member.ended is None]


def _free(
    connection: Connection, claim: Claimed, wanted: Sequence[NewMember]
) -> Sequence[NewMember]:
    """Give each member an id that no other run has; if one is taken, the next one.

    Members' ids can be told from their run's, so whoever knows that could take one beforehand and
    silence the member, or answer in its place.

    Raises:
        ValueError: all that were tried are taken.
    """
    for number in range(1, _IDS_TRIED + 1):
        asked = {"b_id": claim.id, "b_ids": [new.id for new in wanted]}
        taken = set(connection.execute(_TAKEN, asked).scalars())
        if not taken:
            return wanted
        log.warning("Members of %s have other ids: theirs name other runs", claim.id)
        wanted = [
            replace(new, id=derived_id(claim.id, f"{new.member.key}\0{number}"))
            if new.id in taken
            else new
            for new in wanted
        ]
    raise ValueError("the ids of its members name other runs")


_IDS_TRIED = 5
_TAKEN = select(_S.id).where(
    _S.id.in_(bindparam("b_ids", expanding=True)), _S.parent_id.is_distinct_from(bindparam("b_id"))
)
_LAST = (
    select(_S.position)
    .where(_S.parent_id == bindparam("b_id"))
    .order_by(_S.position.desc())
    .limit(1)
)
_MOVE = (
    update(table(Step))
    .where(_S.parent_id == bindparam("b_id"), _S.id.in_(bindparam("b_ids", expanding=True)))
    .values(round=bindparam("b_round"))
)


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
        tenant=claim.tenant,
    )
