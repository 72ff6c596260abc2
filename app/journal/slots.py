"""Turns of schedules: two beats may send one, a beat that died may send it again; one works."""

from __future__ import annotations

from sqlalchemy import Connection

from app.journal.engine import read_clock
from app.journal.joins import insert_new
from app.journal.models import Slot

#: The share of a turn, at either end, in which its neighbour's counts as the same one.
_NEAR = 0.25


def take_slot(connection: Connection, schedule: str, every_s: float, worker_id: str) -> bool:
    """Whether the present turn of a schedule is ours: the first one to ask has it.

    Turns are counted by the database's clock, so it does not matter whose clock is off. Two that
    ask at the border of two turns, one on either side, ask for the same: each turn has an even
    number, each border an odd one, and who is near a border has to be the first there too.
    """
    at = read_clock(connection)
    turn, since_s = divmod(at, every_s)
    number = 2 * int(turn)
    slots = [number]
    if since_s < _NEAR * every_s:
        slots.insert(0, number - 1)
    elif since_s > (1 - _NEAR) * every_s:
        slots.insert(0, number + 1)
    return all(_take(connection, schedule, slot, at, worker_id) for slot in slots)


def _take(connection: Connection, schedule: str, slot: int, at: float, worker_id: str) -> bool:
    row = insert_new(connection, Slot).values(
        schedule=schedule, slot=slot, taken_at=at, worker_id=worker_id
    )
    return bool(connection.execute(row).rowcount)
