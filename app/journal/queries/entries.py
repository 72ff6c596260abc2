"""Reading entries: those of one stream in their places, those of many in the order of all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Text, and_, cast, func, literal, select, tuple_

from app.journal.schema.models import Entry, table
from app.journal.schema.positions import oldest_transaction
from app.journal.schema.sealed import opened_entry, opened_exchange, sealed_by
from celery_agents.contracts.flows.entries import OWN, SESSION
from celery_agents.contracts.flows.subscriptions import StreamSet
from celery_agents.sealing import Seals

_E = table(Entry).c
#: Characters at which a page ends, whatever its limit (one entry is always in it).
PAGE_CHARACTERS = 1_000_000
Rows = list[dict[str, Any]]
_TOLD = (_E.stream, _E.seq, _E.kind, _E.key, _E.data, _E.at, _E.run_id)
_SIZE = func.length(cast(_E.data, Text)).label("size")


class Position(NamedTuple):
    """A place in the order of all entries: behind it come those that are greater."""

    xid: int
    pos: int

    @property
    def text(self) -> str:
        """The position as a client has it."""
        return f"{self.xid}.{self.pos}"

    @classmethod
    def of(cls, told: str) -> Position:
        """Read a position.

        Raises:
            ValueError: it is none.
        """
        xid, _, pos = told.partition(".")
        return cls(int(xid), int(pos))


#: Before all entries.
BEGINNING = Position(-1, 0)


def read(connection: Connection, tenant: str, stream: str, after: int, limit: int) -> Rows:
    """Entries of a stream behind a place, in their order, as many as make a page.

    Raises:
        UnreadableValueError: one of them cannot be decrypted.
    """
    rows = connection.execute(
        select(*_TOLD, _SIZE)
        .where(_E.tenant == tenant, _E.stream == stream, _E.seq > after)
        .order_by(_E.seq)
        .limit(limit)
    )
    return _told(connection, tenant, _page(rows))


def follow(
    connection: Connection, tenant: str, prefix: str, after: Position, limit: int
) -> tuple[Rows, Position]:
    """Entries of all streams whose name begins so, behind a position, in the order of all.

    With the position up to which they were looked for. Raises as above.
    """
    which = func.substr(_E.stream, 1, len(prefix)) == prefix
    found, last = behind(connection, tenant, which, after, limit)
    return _told(connection, tenant, found), last


def behind(
    connection: Connection, tenant: str, which: ColumnElement[bool], after: Position, limit: int
) -> tuple[list[Any], Position]:
    """Rows of entries behind a position, in the order of all, as many as make a page.

    With the position up to which they were looked for. What is still being written, and all that
    came later, is not among them yet: it stands behind that position when it is.
    """
    top = top_of(connection)
    if top is None or top <= after:
        return [], after
    # By another statement, so another snapshot: below the first one's bound all is written.
    rows = connection.execute(
        select(*_TOLD, _SIZE, *_PLACE)
        .where(
            tuple_(*_PLACE) > tuple_(*map(literal, after)),
            tuple_(*_PLACE) <= tuple_(*map(literal, top)),
            _E.tenant == tenant,
            which,
        )
        .order_by(*_PLACE)
        .limit(limit)
    ).all()
    found = _page(rows)
    whole = len(found) == len(rows) < limit
    return found, top if whole else Position(found[-1].xid, found[-1].pos)


def named(connection: Connection, tenant: str, prefix: str, limit: int) -> Rows:
    """Streams whose names begin so, with their number of entries and the time of the last one."""
    found = (
        select(_E.stream, func.count().label("entries"), func.max(_E.at).label("last_at"))
        .where(_E.tenant == tenant, func.substr(_E.stream, 1, len(prefix)) == prefix)
        .group_by(_E.stream)
        .order_by(_E.stream)
        .limit(limit)
    )
    return [dict(row) for row in connection.execute(found).mappings()]


def top_of(connection: Connection) -> Position | None:
    """The position of the last entry of all that may be read; None: there is none."""
    found = connection.execute(_TOP).first()
    return None if found is None else Position(*found)


def among(streams: StreamSet, kind: str | None = None) -> ColumnElement[bool]:
    """The condition that an entry is of these streams, and of a kind."""
    conditions: list[ColumnElement[bool]] = [] if kind is None else [_E.kind == kind]
    if not streams.is_prefix:
        return and_(_E.stream == streams.name, *conditions)
    conditions.append(func.substr(_E.stream, 1, len(streams.name)) == streams.name)
    own = [name for name in OWN if name.startswith(streams.name)]
    conditions += [func.substr(_E.stream, 1, len(name)) != name for name in own]
    return and_(*conditions)


_PLACE = (_E.xid, _E.pos)
_TOP = (
    select(*_PLACE)
    .where(_E.xid < oldest_transaction())
    .order_by(_E.xid.desc(), _E.pos.desc())
    .limit(1)
)


def _page(rows: Any) -> list[Any]:
    """Return the rows that make a page, by their size."""
    page: list[Any] = []
    characters = 0
    for row in rows:
        characters += row.size
        if page and characters > PAGE_CHARACTERS:
            break
        page.append(row)
    return page


def _told(connection: Connection, tenant: str, rows: Sequence[Any]) -> Rows:
    seals = sealed_by(connection)
    return [entry_of(seals, tenant, row) for row in rows]


def entry_of(seals: Seals | None, tenant: str, row: Any) -> dict[str, Any]:
    """An entry as a reader is told it. Raises as :func:`read`."""
    return {
        "stream": row.stream,
        "seq": row.seq,
        "kind": row.kind,
        "key": row.key,
        "data": _data(seals, tenant, row),
        "at": row.at,
        "run_id": row.run_id,
    }


def _data(seals: Seals | None, tenant: str, row: Any) -> Any:
    if row.stream.startswith(SESSION):
        return opened_exchange(seals, row.data, row.run_id)
    return opened_entry(seals, (tenant, row.stream), row.seq, row.data)
