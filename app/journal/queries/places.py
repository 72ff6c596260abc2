"""Entries behind places of streams: of many streams at one look.

A flow that is claimed is told what stands in two streams of its own, and often many are claimed at
once. On PostgreSQL each statement is a round trip, so one reads for all of them. In SQLite, which
is a call, a statement for each stream is handed to the driver itself: SQLAlchemy's way takes five
times as long.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection

from app.journal.steps.anyhow import CANCEL
from app.journal.writing.sending import send


class FromPlace(NamedTuple):
    """A place in a stream, from which on it is read."""

    tenant: str
    stream: str
    since: int
    #: So many entries at the most; None: all.
    most: int | None = None
    #: True: cancellations alone. False: all others.
    cancels: bool | None = None


class EntryFound(NamedTuple):
    """An entry in its place."""

    seq: int
    kind: str
    data: Any
    at: float


def read_behind(connection: Connection, places: Sequence[FromPlace]) -> list[list[EntryFound]]:
    """The entries from each of these places on, in their order."""
    if connection.dialect.name == "sqlite":
        return [_told(_of_sqlite(connection, place)) for place in places]
    found: list[list[Any]] = [[] for _ in places]
    columns = tuple(list(column) for column in zip(*places, strict=True))
    for place, *row in send(connection, _OF_MANY, columns).rows:
        found[place - 1].append(row)
    return [_told(rows) for rows in found]


def _told(rows: Sequence[Any]) -> list[EntryFound]:
    """Read what rows have as text: that of many as one JSON value takes half as long."""
    data = json.loads(f"[{','.join([row[2] for row in rows])}]")
    return [
        EntryFound(seq, kind, one, at) for (seq, kind, _, at), one in zip(rows, data, strict=True)
    ]


def _of_sqlite(connection: Connection, place: FromPlace) -> Sequence[Any]:
    *where, most, cancels = place
    statement = _OF_ONE[cancels]
    return send(connection, statement, (*where, -1 if most is None else most)).rows


def _of_one(which: str) -> str:
    return f"""
        SELECT seq, kind, data, at FROM entries
        WHERE tenant = ? AND stream = ? AND seq >= ? {which}
        ORDER BY seq LIMIT ?
    """  # noqa: S608 - of our own constants


_OF_ONE = {
    None: _of_one(""),
    False: _of_one(f"AND kind <> '{CANCEL}'"),
    True: _of_one(f"AND kind = '{CANCEL}'"),
}
# The limit, also where it is none, has each stream read by itself through the index of places: the
# server would else look for a way to read them all at once, and may take the table for a small one.
_OF_MANY = f"""
    SELECT v.n, e.seq, e.kind, CAST(e.data AS text), e.at
    FROM unnest(
        CAST(%s AS text[]), CAST(%s AS text[]), CAST(%s AS integer[]), CAST(%s AS integer[]),
        CAST(%s AS boolean[])
    ) WITH ORDINALITY AS v(tenant, stream, since, most, cancels, n),
    LATERAL (
        SELECT o.seq, o.kind, o.data, o.at FROM entries AS o
        WHERE o.tenant = v.tenant AND o.stream = v.stream AND o.seq >= v.since
            AND (v.cancels IS NULL OR v.cancels = (o.kind = '{CANCEL}'))
        ORDER BY o.seq LIMIT v.most
    ) AS e
    ORDER BY v.n, e.seq
"""  # noqa: S608 - of our own constant
