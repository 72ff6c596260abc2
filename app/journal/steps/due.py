"""Rows that want a message, for recovery to find. Each query is bounded and backs off.

Copies of a message cost nothing (the claim refuses them), but they fill the queue; so a row that
was woken waits longer each time, and the caller bounds the number by the queue's depth.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    Select,
    any_,
    bindparam,
    case,
    delete,
    func,
    literal,
    or_,
    select,
    true,
    update,
)

from app.journal.schema import locks
from app.journal.schema.engine import now
from app.journal.schema.models import Join, Step, Worker, table
from app.journal.schema.rows import Aftermath, Claimed, Wake
from app.journal.schema.wake_columns import WAKE_COLUMNS, wake_of
from app.journal.steps import joins
from app.journal.steps.claims import CLAIMED, LEASED
from celery_agents.contracts.outcome import State

_DOUBLINGS_MAX = 12


#: Whose time has come since they were last published.
_DUE = Step.wake_at <= now()
#: Rows that want a message. Each worker looks for them every second, and its statements are the
#: same: they are put together once.
_ORPHANED = (
    (Step.state == State.RUNNING)
    # A worker that left may have claimed a step in the meantime: of it there is no row.
    & Step.worker_id.not_in(select(Worker.id).where(Worker.lease_until > now()))
    & or_(Step.wakes == 0, _DUE)
)
_UNWOKEN = (Step.state == State.READY) & _DUE & (Step.ready_at <= now())
_UNSETTLED = ~Step.settled & Step.finished_at.is_not(None) & _DUE
#: Workers that are gone and hold nothing any more.
_GONE = delete(Worker).where(
    Worker.lease_until <= now() - 60,
    Worker.id.not_in(select(Step.worker_id).where(Step.state == State.RUNNING)),
)
_MOST: BindParameter[int] = bindparam("most")


def _held(which: ColumnElement[bool]) -> Select[Any]:
    """Hold some rows; one that somebody holds is being seen to."""
    found = select(Step.id).where(which).order_by(Step.wake_at).limit(_MOST)
    return found.with_for_update(skip_locked=True, key_share=True)


_HOLD_ORPHANED, _HOLD_UNWOKEN, _HOLD_UNSETTLED = map(_held, (_ORPHANED, _UNWOKEN, _UNSETTLED))
_LATE = (
    select(Join.step_id, Step.run_id, Join.policy)
    .join(Step, Step.id == Join.step_id)
    .where(Join.state == "open", Join.deadline_at <= now() - bindparam("ago"))
    .order_by(Join.deadline_at)
    .limit(_MOST)
)
#: Of so many that are the longest past their time a worker takes the most urgent ones, tenants in
#: turn: that many it has done with within a second or so.
_AMONG = 512
_IS_PAST = (Join.state == "open") & (Join.deadline_at <= now()) & (Join.policy == "any")
_IS_OURS = Step.parent_id.is_(None) & Step.queue.in_(bindparam("queues", expanding=True))


def _past(dialect: str) -> Any:
    """Build what finds those that are the longest past their time, with what they are taken by.

    For PostgreSQL so that steps are looked up for these alone, one by one in that order: a server
    without statistics takes few to be due, and would first look up those of all that are.
    """
    if dialect == "sqlite":
        found: Any = select(Join.step_id, Join.deadline_at, Step.priority, Step.tenant)
        found = found.join(Step, Step.id == Join.step_id).where(_IS_PAST, _IS_OURS)
        return found.order_by(Join.deadline_at).limit(_AMONG)
    late = select(Join.step_id, Join.deadline_at).where(_IS_PAST).order_by(Join.deadline_at)
    first = late.subquery().c
    step = select(Step.priority, Step.tenant).where(Step.id == first.step_id, _IS_OURS).offset(0)
    ours = step.lateral()
    looked_up = select(*first, *ours.c).join(ours, true())
    return looked_up.order_by(first.deadline_at).limit(_AMONG)


def _late_flows(dialect: str) -> Any:
    """Build what locks those that are taken, in their order."""
    past = _past(dialect).subquery().c
    turn = func.row_number().over(
        partition_by=(past.priority, past.tenant), order_by=past.deadline_at
    )
    mine = select(*past, turn.label("turn")).subquery().c
    order = (mine.priority, mine.turn, mine.deadline_at)
    return (
        select(Join.step_id, *order)
        .join(mine.step_id.table, mine.step_id == Join.step_id)
        # Not its deadline once more: a server without statistics would read all joins for each
        # flow. One that was let on meanwhile, and waits anew, is woken for nothing then.
        .where(Join.state == "open")
        .order_by(*order)
        .limit(_MOST)
        .with_for_update(of=Join, skip_locked=True)
    )


_S, _J = table(Step).c, table(Join).c


def _taken(which: ColumnElement[bool]) -> Any:
    """Claim flows that wait; how long they could have been claimed, their timers say."""
    due_at = select(_J.deadline_at).where(_J.step_id == _S.id).scalar_subquery()
    claiming = update(table(Step)).where(
        which, _S.state == State.WAITING, _S.cancel_requested.is_(False), LEASED.exists()
    )
    taken = claiming.values(
        state=State.RUNNING,
        attempts=1,  # its time is progress: the cap is on attempts without any
        token=_S.token + 1,
        worker_id=bindparam("b_worker"),
        wakes=0,
        ready_at=due_at,
        started_at=func.coalesce(_S.started_at, now()),
    )
    return taken.returning(*CLAIMED, _S.envelope)


def _fired(which: ColumnElement[bool]) -> Any:
    return update(table(Join)).where(which, _J.state == "open").values(state="fired")


def _of(ids: Select[Any]) -> ColumnElement[Any]:
    """Return what ids are compared with that are looked up first, and then by the primary key."""
    return any_(func.array(ids.scalar_subquery()))


def _take_in_one() -> Select[Any]:
    """Build the statement by which PostgreSQL takes flows: one round trip for as many as are due.

    What somebody holds is left to him, joins and steps alike: so it waits for nobody, whatever the
    order in which others lock them.
    """
    held = _late_flows("postgresql").cte("held")
    waiting = select(_S.id).where(_S.id == _of(select(held.c.step_id)), _S.state == State.WAITING)
    waiting = waiting.with_for_update(key_share=True, skip_locked=True)
    taken = _taken(_S.id == _of(waiting)).cte("taken")
    fired = _fired(_J.step_id == _of(select(taken.c.id))).cte("fired")
    found = select(taken).join(held, held.c.step_id == taken.c.id).add_cte(fired)
    return found.order_by(held.c.priority, held.c.turn, held.c.deadline_at)


_TAKE_IN_ONE, _LATE_FLOWS = _take_in_one(), _late_flows("sqlite")
_IDS: BindParameter[Any] = bindparam("b_ids", expanding=True)
_TAKE, _FIRE = _taken(_S.id.in_(_IDS)), _fired(_J.step_id.in_(_IDS))
_NEXT_LATE = (
    select(Join.deadline_at - now())
    .where(Join.state == "open", Join.deadline_at.is_not(None))
    .order_by(Join.deadline_at)
    .limit(1)
)


def orphaned(
    connection: Connection, limit: int, grace_s: float, backoff_max_s: float
) -> list[Wake]:
    """Running steps whose worker's lease ran out, or is unknown. Their claim takes them over.

    Also forgets workers that are gone and hold nothing any more.
    """
    held = connection.execute(_HOLD_ORPHANED, {"most": limit}).scalars().all()
    found = _wake(connection, held, _ORPHANED, grace_s, backoff_max_s)
    connection.execute(_GONE)
    return found


def unwoken(connection: Connection, limit: int, grace_s: float, backoff_max_s: float) -> list[Wake]:
    """Ready steps that nobody took since they were last published."""
    held = connection.execute(_HOLD_UNWOKEN, {"most": limit}).scalars().all()
    return _wake(connection, held, _UNWOKEN, grace_s, backoff_max_s)


def unsettled(
    connection: Connection, limit: int, grace_s: float, backoff_max_s: float
) -> list[Wake]:
    """Finished steps whose result or successors may not have been published."""
    held = connection.execute(_HOLD_UNSETTLED, {"most": limit}).scalars().all()
    return _wake(connection, held, _UNSETTLED, grace_s, backoff_max_s)


def late_joins(
    connection: Connection, limit: int, rules: joins.Rules, ago_s: float = 0.0
) -> Aftermath:
    """Joins so long past their deadline whose timer message was lost: fire them."""
    late = connection.execute(_LATE, {"most": limit, "ago": ago_s}).all()
    if not late:
        return Aftermath()
    locks.lock(connection, ((row.step_id, row.run_id) for row in late))
    result = joins.ring(connection, [row.step_id for row in late if row.policy == "any"], rules)
    for row in late:
        if row.policy == "any":
            continue
        fired = joins.fire_if_late(connection, row.step_id, rules)
        if fired is not None:
            result.add(fired)
    return result


class DueFlow(NamedTuple):
    """A flow whose time has come: claimed, with what its message has beside that."""

    claim: Claimed
    envelope: dict[str, Any] | None

    @property
    def wake(self) -> Wake:
        """Its message."""
        return Wake.of(self.claim, self.envelope)


def take_flows(
    connection: Connection, limit: int, queues: Sequence[str], worker_id: str
) -> list[DueFlow]:
    """Claim flows whose time has come, of these queues; others may do so with more of them.

    The more urgent ones come first, tenants in turn, and of a tenant those that are due the longest
    (of one queue the broker has them so, too). What somebody holds is left to him: so nobody waits
    for a join, whose order of locks this is not in. Members' joins are below others, and not among
    them. As any claim, this one need not survive a crash of the database: the flow waits then.
    """
    about = {"most": limit, "queues": list(queues), "b_worker": worker_id}
    if connection.dialect.name == "postgresql":
        return [_due(row) for row in connection.execute(_TAKE_IN_ONE, about)]
    late = list(connection.execute(_LATE_FLOWS, about).scalars())
    if not late:
        return []
    rows = connection.execute(_TAKE, {"b_ids": late, "b_worker": worker_id}).all()
    connection.execute(_FIRE, {"b_ids": [row.id for row in rows]})
    return [_due(row) for row in sorted(rows, key=lambda row: late.index(row.id))]


def _due(row: Any) -> DueFlow:
    *claim, envelope = row
    return DueFlow(Claimed(*claim), envelope)


def next_late(connection: Connection) -> float | None:
    """For how many seconds no open join is past its deadline; None: there is none that could be."""
    first = connection.execute(_NEXT_LATE).scalar()
    return None if first is None else float(first)


def _wake(
    connection: Connection,
    ids: Sequence[str],
    which: ColumnElement[bool],
    grace_s: float,
    backoff_max_s: float,
) -> list[Wake]:
    if not ids:
        return []
    doublings = case((Step.wakes > _DOUBLINGS_MAX, _DOUBLINGS_MAX), else_=Step.wakes)
    pause = literal(grace_s) * literal(1).op("<<")(doublings)
    bounded: Any = case((pause > backoff_max_s, backoff_max_s), else_=pause)
    rows = connection.execute(
        update(Step)
        .where(Step.id.in_(ids), which)
        .values(wakes=Step.wakes + 1, wake_at=now() + bounded)
        .returning(*WAKE_COLUMNS)
    )
    return [wake_of(row) for row in rows]


def ready(connection: Connection, ids: Sequence[str]) -> list[Wake]:
    """Messages for those of these steps that may be claimed now."""
    rows = connection.execute(
        select(*WAKE_COLUMNS).where(
            Step.id.in_(ids),
            Step.state == State.READY,
            Step.ready_at <= now(),
            Step.cancel_requested.is_(False),
        )
    )
    return [wake_of(row) for row in rows]


def waiting(connection: Connection, most: int) -> dict[str, int]:
    """The number of steps in each queue that may be claimed, of the oldest ones alone.

    Of ten times ``most``, that is, which costs some milliseconds: where more wait, each queue that
    has them has its share, and is full, or nearly.
    """
    of = (Step.state == State.READY) & (Step.ready_at <= now())
    some = select(Step.queue).where(of).limit(10 * most).subquery()
    counted = select(some.c.queue, func.count()).group_by(some.c.queue)
    return {row[0]: row[1] for row in connection.execute(counted)}


def known(connection: Connection, ids: list[str]) -> set[str]:
    """Which of these ids have a row."""
    return set(connection.execute(select(Step.id).where(Step.id.in_(ids))).scalars())
