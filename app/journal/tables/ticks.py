"""Turns of schedules: whichever beats send the message of one, and however many, it runs once."""

from __future__ import annotations

from sqlalchemy import Connection, func, update

from app.journal.schema.engine import read_clock
from app.journal.schema.models import Slot
from app.journal.schema.upsert import insert_new

#: The share of a turn that has to be over before the next one may begin. Messages come twice as
#: often as turns, so the next but one of a beat is in time, and a second beat's is not.
_SHARE = 0.75
#: There is one row for each schedule: that of its newest turn.
_NEWEST = 0


def take_slot(connection: Connection, schedule: str, every_s: float, worker_id: str) -> bool:
    """Try to take the next turn of a schedule: the first to ask when it is due has it.

    What counts is the time since the last turn, by the database's clock: two that ask at once never
    both have one, wherever they stand, and it does not matter whose own clock is off.
    """
    at = read_clock(connection)
    turn = insert_new(connection, Slot).values(
        schedule=schedule, slot=_NEWEST, taken_at=at, worker_id=worker_id
    )
    if connection.execute(turn).rowcount:
        return True
    due = (
        update(Slot)
        .where(Slot.schedule == schedule, Slot.slot == _NEWEST)
        .where(func.abs(at - Slot.taken_at) >= _SHARE * every_s)  # a clock may be set back
        .values(taken_at=at, worker_id=worker_id)
    )
    return bool(connection.execute(due).rowcount)
