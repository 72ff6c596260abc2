"""Members that wait for their turn: of a join that lets so many of its members run at a time.

One that is parked is a ready row whose times lie so far ahead that nobody claims it or wakes it.
Each end of a member counts in the join, under its lock, and in the same transaction the next one
in the order of their places gets its times: so no end can be without its successor, and nobody
decides anything. ``max_concurrent`` + done of them have had their turn, so the next one is at no
place before that, and is found without reading those that have ended.

A turn of an agent that is one member's is, where the map is ``least_busy``, handed to the next
one: members behind the first ones have no agent until their turn, and get that of a member whose
end lets them begin. So each agent has as many at a time as it had at the start, and the quicker one
takes more. It stands in the row from then on, so a worker's death or a recovery changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, func, select, update

from app.journal.schema.engine import now
from app.journal.schema.models import Step, table
from app.journal.schema.rows import Wake
from app.journal.schema.wake_columns import WAKE_COLUMNS, wake_of
from celery_agents import names
from celery_agents.contracts.outcome import State

_S = table(Step).c
#: Seconds by which the times of a parked member are ahead; those of no other step are.
PARKED_S = 1e11
#: A time that is ahead by that, whenever the member was made.
PARKED_FROM = PARKED_S / 2
#: The place from which on members are parked, where none are: more than a step can have.
NOBODY = 2**31 - 1


def parked(at: str, position: str) -> str:
    """SQL of the time from which a new member counts, of the present's and its place's."""
    ahead = f"CAST({PARKED_S:.0f} AS double precision)"
    return f"{at} + CASE WHEN {position} >= :parked THEN {ahead} ELSE 0 END"


def release(
    connection: Connection,
    parent_id: str,
    free: Sequence[str | None],
    wake_grace_s: float,
    *,
    least: int,
) -> list[Wake]:
    """Let the next of a step's parked members begin; whoever calls has locked their join.

    ``free``: the agents of those that have ended, one for each that may begin. ``least``: a place
    before which there are none.
    """
    next_ = {"b_id": parent_id, "b_least": least, "b_number": len(free)}
    found = connection.execute(_NEXT, next_).all()
    if not found:
        return []
    given = {"b_ids": [row.id for row in found], "b_grace": wake_grace_s}
    nobodys = [row.id for row in found if row.agent is None and row.task == names.ASK]
    if nobodys:
        _assign(connection, parent_id, nobodys, free)
    released = {row.id: wake_of(row) for row in connection.execute(_RELEASE, given)}
    # In their order; the statement's is that of its plan.
    return [released[row.id] for row in found if row.id in released]


def _assign(
    connection: Connection, parent_id: str, ids: Sequence[str], free: Sequence[str | None]
) -> None:
    """Give members that are nobody's yet the agents that are free."""
    known = [agent for agent in free if agent is not None]
    rows = connection.execute(_UNASSIGNED, {"b_ids": list(ids)}).all()
    for n, row in enumerate(sorted(rows, key=lambda row: row.position)):
        agent = known[n] if n < len(known) else _first(connection, parent_id)
        payload = _asked(row.payload, agent)
        connection.execute(_ASSIGN, {"b_id": row.id, "b_agent": agent, "b_payload": payload})


def _asked(payload: dict[str, Any], agent: str | None) -> dict[str, Any]:
    """A member's payload that says whom it asks; that is never encrypted."""
    return {**payload, "kwargs": {**payload["kwargs"], "agent": agent}}


def _first(connection: Connection, parent_id: str) -> str | None:
    """The agent with the fewest open turns: one was let go that had not begun, so none is free."""
    return connection.execute(_FEWEST, {"b_id": parent_id}).scalar()


_PARKED = (_S.state == State.READY) & (_S.ready_at > PARKED_FROM)
_NEXT = (
    select(_S.id, _S.agent, _S.task)
    .where(_S.parent_id == bindparam("b_id"), _S.position >= bindparam("b_least"), _PARKED)
    .order_by(_S.position)
    .limit(bindparam("b_number"))
)
#: A deadline is as long after its turn as it was after its place in the queue.
_RELEASE = (
    update(table(Step))
    .where(_S.id.in_(bindparam("b_ids", expanding=True)), _PARKED)
    .values(
        ready_at=now(),
        wake_at=now() + bindparam("b_grace", type_=_S.wake_at.type),
        deadline_at=_S.deadline_at - _S.ready_at + now(),
    )
    .returning(*WAKE_COLUMNS)
)
_UNASSIGNED = select(_S.id, _S.position, _S.payload).where(
    _S.id.in_(bindparam("b_ids", expanding=True))
)
_ASSIGN = (
    update(table(Step))
    .where(_S.id == bindparam("b_id"))
    .values(agent=bindparam("b_agent"), payload=bindparam("b_payload", type_=_S.payload.type))
)
#: Whoever answered in an earlier run (round 0) need be none of the map's agents.
_FEWEST = (
    select(_S.agent)
    .where(_S.parent_id == bindparam("b_id"), _S.agent.is_not(None), _S.round > 0)
    .group_by(_S.agent)
    .order_by(func.count().filter(_S.finished_at.is_(None)), _S.agent)
    .limit(1)
)
