"""Members that wait for their turn: of a join that lets so many of its members run at a time.

One that is parked is a ready row whose times lie so far ahead that nobody claims it or wakes it.
Each end of a member counts in the join, under its lock, and in the same transaction the next one
in the order of their places gets its times: so no end can be without its successor, and nobody
decides anything. ``max_concurrent`` + done of them have had their turn, so the next one is at no
place before that, and is found without reading those that have ended.
"""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, select, update

from app.journal.schema.engine import now
from app.journal.schema.models import Step, table
from app.journal.schema.rows import Wake
from app.journal.schema.wake_columns import WAKE_COLUMNS, wake_of
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
    connection: Connection, parent_id: str, number: int, wake_grace_s: float, *, least: int
) -> list[Wake]:
    """Let the next of a step's parked members begin; whoever calls has locked their join.

    ``least``: a place before which there are none.
    """
    next_ = {"b_id": parent_id, "b_least": least, "b_number": number}
    ids = list(connection.execute(_NEXT, next_).scalars())
    if not ids:
        return []
    rows = connection.execute(_RELEASE, {"b_ids": ids, "b_grace": wake_grace_s})
    return [wake_of(row) for row in rows]


_PARKED = (_S.state == State.READY) & (_S.ready_at > PARKED_FROM)
_NEXT = (
    select(_S.id)
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
