"""Trimming an actor's mailbox: what it has taken up, and answered, long ago.

It is done in the transaction by which the actor goes on, at each eighth claim, so that nobody looks
for mailboxes, and one that is told nothing costs nothing. The last entry of a stream stays, so that
no place is given twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, bindparam, delete, func, select

from app.journal.schema.engine import read_clock
from app.journal.schema.models import Entry, table
from app.journal.schema.rows import Claimed
from celery_agents.contracts.flows.actors import REPLY
from celery_agents.contracts.flows.entries import ANSWERS, SIGNALS

_E = table(Entry).c
#: Claims from one look to the next; of 64 messages each.
EVERY = 8
#: Entries that one look deletes: more than come meanwhile.
MOST = 2_000


def trim(connection: Connection, claim: Claimed, heard: int, keep_s: float) -> None:
    """Delete what is older, up to the last message that was taken up; seldom."""
    if claim.token % EVERY:
        return
    before = read_clock(connection) - keep_s
    answers = (claim.tenant, ANSWERS + claim.id)
    taken = _old(connection, (claim.tenant, SIGNALS + claim.id), before, heard)
    lately = _answered_since(connection, answers, [row.key for row in taken], before)
    gone = [row for row in taken if row.key not in lately]
    _delete(connection, gone)
    _delete(connection, _old(connection, answers, before, None))
    if gone:  # an id that is forgotten has no answer, either, which may stand far behind
        last = select(func.max(_E.seq)).where(_of(answers)).scalar_subquery()
        keys = [row.key for row in gone]
        theirs = _of(answers) & (_E.kind == REPLY) & _E.key.in_(keys) & (_E.seq < last)
        connection.execute(delete(table(Entry)).where(theirs))


def _of(where: tuple[str, str]) -> ColumnElement[bool]:
    found: ColumnElement[bool] = (_E.tenant == where[0]) & (_E.stream == where[1])
    return found


def _answered_since(
    connection: Connection, answers: tuple[str, str], keys: list[str], since: float
) -> set[str]:
    """Return the ids of messages that lay there for long: who waits has not read the answer yet."""
    if not keys:
        return set()
    late = _of(answers) & (_E.kind == REPLY) & _E.key.in_(keys) & (_E.at >= since)
    return {*connection.execute(select(_E.key).where(late)).scalars()}


def _old(
    connection: Connection, where: tuple[str, str], before: float, upto: int | None
) -> list[Any]:
    """Return the entries of a stream that are older, but for its last one."""
    about = {"b_tenant": where[0], "b_stream": where[1]}
    first = connection.execute(_OLDEST, {**about, "b_most": 1}).first()
    if first is None or first.at >= before:
        return []
    rows = connection.execute(_OLDEST, {**about, "b_most": MOST + 1}).all()
    last = len(rows) - 1
    return [
        row
        for number, row in enumerate(rows)
        if row.at < before and number < last and (upto is None or row.seq <= upto)
    ]


def _delete(connection: Connection, rows: Sequence[Any]) -> None:
    if rows:
        these = [row.pos for row in rows]
        connection.execute(delete(table(Entry)).where(_E.pos.in_(these)))


_OLDEST = (
    select(_E.pos, _E.seq, _E.at, _E.key)
    .where(_E.tenant == bindparam("b_tenant"), _E.stream == bindparam("b_stream"))
    .order_by(_E.seq)
    .limit(bindparam("b_most"))
)
