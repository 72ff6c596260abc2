"""Encrypted values, wherever they stand in the journal: with which key, and with a newer one."""

from __future__ import annotations

import base64
import binascii
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Text, cast, delete, or_, select, text, tuple_

from app.journal.schema.engine import now
from app.journal.schema.models import (
    AgentEntry,
    Call,
    DeadLetter,
    Entry,
    Event,
    Memo,
    MemoryRow,
    MemorySpace,
    MemoryVector,
    ScheduleRow,
    Snapshot,
    Step,
    StreamCursor,
    table,
)
from app.journal.schema.sealed import sealed_by
from app.journal.schema.upsert import insert_new
from celery_agents.sealing import TOKEN

#: Of the memos that say which keys encrypt values of this journal.
_IN_USE = "encryption/"
#: How each token of Fernet begins: its version, and the first bytes of a time before 2106.
_BEGINS = ":gAAAAA"
#: Rows that one statement reads.
PORTION = 100


@dataclass(frozen=True, slots=True)
class SealedColumns:
    """Columns of a table in which encrypted values stand, and its key."""

    model: Any
    columns: tuple[str, ...]
    #: Whether they are texts in Base64, as messages of dead letters.
    packed: bool = False

    @property
    def keys(self) -> list[Any]:
        """The columns of the table's primary key."""
        return [*table(self.model).primary_key.columns]


PLACES = (
    SealedColumns(Step, ("payload", "envelope", "outcome")),
    SealedColumns(Call, ("answer",)),
    SealedColumns(Entry, ("data",)),
    SealedColumns(Event, ("data",)),
    SealedColumns(ScheduleRow, ("target",)),
    SealedColumns(AgentEntry, ("entry",)),
    SealedColumns(StreamCursor, ("target",)),
    SealedColumns(Snapshot, ("state",)),
    SealedColumns(Memo, ("data",)),
    SealedColumns(MemorySpace, ("secret",)),
    SealedColumns(MemoryRow, ("data",)),
    SealedColumns(MemoryVector, ("data",)),
    SealedColumns(DeadLetter, ("raw",), packed=True),
)
#: A row: its key, and the texts of its columns.
Row = tuple[tuple[Any, ...], dict[str, str]]


def keys_in_use(connection: Connection) -> list[str]:
    """The ids of keys with which processes have begun to encrypt, and that are not done with."""
    found = select(Memo.key).where(Memo.key.like(f"{_IN_USE}%")).order_by(Memo.key)
    return [key.removeprefix(_IN_USE) for key in connection.execute(found).scalars()]


def begin_using(connection: Connection, key: str) -> None:
    """Note that values are encrypted with a key from now on."""
    row = {"key": _IN_USE + key, "data": {}, "changed_at": now()}
    connection.execute(insert_new(connection, Memo).values(row))


def done_with(connection: Connection, key: str) -> None:
    """Note that no value needs a key any more."""
    connection.execute(delete(Memo).where(Memo.key == _IN_USE + key))


def rows_with(
    connection: Connection,
    place: SealedColumns,
    keys: Sequence[str] | None,
    after: tuple[Any, ...] | None,
) -> list[Row]:
    """A portion of the rows, behind one in the order of their keys, with values of these keys.

    None: of any key.
    """
    own = table(place.model).c
    texts = {name: cast(own[name], Text) for name in place.columns}
    query = select(*place.keys, *texts.values()).order_by(*place.keys).limit(PORTION)
    if not place.packed:
        query = query.where(or_(*(_holds(t, keys) for t in texts.values())))
    if after is not None:
        query = query.where(tuple_(*place.keys) > tuple_(*after))
    width = len(place.keys)
    return [
        (
            tuple(row[:width]),
            {n: t for n, t in zip(place.columns, row[width:], strict=True) if t is not None},
        )
        for row in connection.execute(query)
    ]


def _holds(told: ColumnElement[str], keys: Sequence[str] | None) -> ColumnElement[bool]:
    if keys is None:
        return told.contains(_BEGINS, autoescape=True)
    return or_(*(told.contains(f"{key}{_BEGINS}", autoescape=True) for key in keys))


def write(
    connection: Connection, place: SealedColumns, key: tuple[Any, ...], old: str, **new: str
) -> bool:
    """Replace the text of one column, unless somebody has changed it since; whether it was."""
    [(name, told)] = new.items()
    # As text on the way in: SQLite would read a number where it is to cast to JSON.
    plain = place.packed or connection.dialect.name == "sqlite"
    value = ":new" if plain else "CAST(:new AS json)"
    names = [column.name for column in place.keys]
    which = " AND ".join(f"{n} = :key_{n}" for n in names)
    statement = text(
        f"UPDATE {place.model.__tablename__} SET {name} = {value} "  # noqa: S608 - names of ours
        f"WHERE {which} AND CAST({name} AS text) = :old"
    )
    about = {f"key_{n}": value for n, value in zip(names, key, strict=True)}
    return bool(connection.execute(statement, {**about, "new": told, "old": old}).rowcount)


def renewed(connection: Connection, place: SealedColumns, told: str) -> tuple[str, int]:
    """The text of a column with its values encrypted by the first key, and how many those are."""
    seals = sealed_by(connection)
    assert seals is not None, "who rotates has keys"
    if not place.packed:
        return seals.renewed(told)
    new, count = seals.renewed(_unpacked(told))
    return base64.b64encode(new.encode("latin-1")).decode(), count


def counted(place: SealedColumns, rows: Sequence[Row]) -> Counter[str]:
    """The values in rows, by the ids of their keys."""
    unpack: Callable[[str], str] = _unpacked if place.packed else str
    return Counter(
        found[2] for _, texts in rows for told in texts.values() for found in _tokens(unpack(told))
    )


def _tokens(told: str) -> Iterator[Any]:
    return TOKEN.finditer(told)


def _unpacked(raw: str) -> str:
    """A message as text of single bytes; empty where it is none."""
    try:
        return base64.b64decode(raw).decode("latin-1")
    except binascii.Error:
        return ""
