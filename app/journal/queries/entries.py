"""Reading entries: those of one stream in their places, those of many in the order of all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Text,
    and_,
    cast,
    func,
    literal,
    select,
    text,
    tuple_,
)

from app.journal.schema.models import Entry, table
from app.journal.schema.positions import oldest_transaction
from app.journal.schema.sealed import opened_entry, opened_exchange, sealed_by
from celery_agents.contracts.flows.entries import OWN, SESSION
from celery_agents.contracts.flows.subscriptions import StreamSet
from celery_agents.sealing import Seals

_E = table(Entry).c
#: Characters at which a page ends, whatever its limit (one entry is always in it).
PAGE_CHARACTERS = 1_000_000
#: Entries of all that are looked at first, for each that is wanted; more where none was found.
_WIDTH, _WIDTH_MAX = 4, 65_536
Rows = list[dict[str, Any]]
#: The condition that an entry is wanted, by its columns.
Which = Callable[[Any], ColumnElement[bool]]
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

    def begins(c: Any) -> ColumnElement[bool]:
        found: ColumnElement[bool] = func.substr(c.stream, 1, len(prefix)) == prefix
        return found

    found, last = behind(connection, tenant, begins, after, limit)
    return _told(connection, tenant, found), last


def behind(
    connection: Connection, tenant: str, which: Which, after: Position, limit: int
) -> tuple[list[Any], Position]:
    """Rows of entries behind a position, in the order of all, as many as make a page.

    With the position up to which they were looked for. What is still being written, and all that
    came later, is not among them yet: it stands behind that position when it is.
    """
    top, width = top_of(connection), _WIDTH * limit
    while top is not None and after < top:
        # By other statements, so other snapshots: below the first one's bound all is written.
        with _in_order(connection):
            rows, end = _near(connection, after, top, width, (tenant, which, limit))
        if rows:
            found = _page(rows)
            whole = len(found) == len(rows) < limit
            return found, end if whole else Position(found[-1].xid, found[-1].pos)
        after, width = end, min(width * _WIDTH, _WIDTH_MAX)
    return [], after


@contextmanager
def _in_order(connection: Connection) -> Iterator[None]:
    """Have PostgreSQL read by the index of positions, before it has statistics of the table too.

    It would sort all that is behind the position else, for each page.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(_NO_SORT)
    yield
    if connection.dialect.name == "postgresql":
        connection.execute(_SORT)


_NO_SORT, _SORT = text("SET LOCAL enable_sort TO off"), text("SET LOCAL enable_sort TO DEFAULT")


def _near(
    connection: Connection,
    after: Position,
    top: Position,
    width: int,
    wanted: tuple[str, Which, int],
) -> tuple[list[Any], Position]:
    """Those among so many entries of all, and the position of the last of these.

    They are taken in the order of all first, and looked at then: whatever a planner believes of
    tenants and streams, it reads no more than these, by the index of positions.
    """
    tenant, which, limit = wanted
    those = tuple_(*_PLACE) > tuple_(*map(literal, after))
    order = select(*_PLACE).where(those).order_by(*_PLACE)
    last = connection.execute(order.offset(width - 1).limit(1)).first()
    end = top if last is None else min(Position(*last), top)
    near = select(*_E).where(those).order_by(*_PLACE).limit(width).subquery().c
    told = [near[column.name] for column in (*_TOLD, *_PLACE)]
    size = func.length(cast(near.data, Text)).label("size")
    upto = tuple_(near.xid, near.pos) <= tuple_(*map(literal, end))
    query = select(*told, size).where(upto, near.tenant == tenant, which(near))
    found = connection.execute(query.order_by(near.xid, near.pos).limit(limit))
    return list(found), end


def named(connection: Connection, tenant: str, prefix: str, limit: int) -> Rows:
    """Streams whose names begin so, with their number of entries and the time of the last one.

    None of the service's own is among them.
    """
    found = (
        select(_E.stream, func.count().label("entries"), func.max(_E.at).label("last_at"))
        .where(_E.tenant == tenant, among(_E, StreamSet(prefix, is_prefix=True)))
        .group_by(_E.stream)
        .order_by(_E.stream)
        .limit(limit)
    )
    return [dict(row) for row in connection.execute(found).mappings()]


def top_of(connection: Connection) -> Position | None:
    """The position of the last entry of all that may be read; None: there is none."""
    found = connection.execute(_TOP).first()
    return None if found is None else Position(*found)


def among(c: Any, streams: StreamSet, kind: str | None = None) -> ColumnElement[bool]:
    """The condition that an entry, by its columns, is of these streams, and of a kind."""
    conditions: list[ColumnElement[bool]] = [] if kind is None else [c.kind == kind]
    if not streams.is_prefix:
        return and_(c.stream == streams.name, *conditions)
    conditions.append(func.substr(c.stream, 1, len(streams.name)) == streams.name)
    own = [name for name in OWN if name.startswith(streams.name)]
    conditions += [func.substr(c.stream, 1, len(name)) != name for name in own]
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
