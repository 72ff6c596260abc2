"""Turns of schedules: two beats may send one, a beat that died may send it again; one works."""

from __future__ import annotations

from sqlalchemy import Connection

from app.journal.engine import read_clock
from app.journal.joins import insert_new
from app.journal.models import Slot


def take_slot(connection: Connection, schedule: str, every_s: float, worker_id: str) -> bool:
    """Whether the present turn of a schedule is ours: the first one to ask has it.

    Turns are counted by the database's clock, so it does not matter whose clock is off.
    """
    at = read_clock(connection)
    turn = insert_new(connection, Slot).values(
        schedule=schedule, slot=int(at // every_s), taken_at=at, worker_id=worker_id
    )
    return bool(connection.execute(turn).rowcount)
