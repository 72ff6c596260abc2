"""Reading entries: those of one stream in their places, those of many in the order of all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, Text, cast, func, literal, select, tuple_

from app.journal.schema.engine import read_clock
from app.journal.schema.models import Entry, StreamCursor, table
from app.journal.schema.positions import oldest_transaction
from app.journal.schema.sealed import opened_entry, opened_exchange, sealed_by
from app.journal.schema.upsert import insert_of
from celery_agents.contracts.flows.entries import SESSION
from celery_agents.sealing import Seals

_E = table(Entry).c
_C = table(StreamCursor).c
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

    With the position up to which they were looked for. What is still being written, and all that
    came later, is not among them yet: it stands behind that position when it is. Raises as above.
    """
    top = connection.execute(_TOP).first()
    if top is None or tuple(top) <= after:
        return [], after
    # By another statement, so another snapshot: below the first one's bound all is written.
    rows = connection.execute(
        select(*_TOLD, _SIZE, *_PLACE)
        .where(
            tuple_(*_PLACE) > tuple_(*map(literal, after)),
            tuple_(*_PLACE) <= tuple_(*map(literal, top)),
            _E.tenant == tenant,
            func.substr(_E.stream, 1, len(prefix)) == prefix,
        )
        .order_by(*_PLACE)
        .limit(limit)
    ).all()
    found = _page(rows)
    whole = len(found) == len(rows) < limit
    last = Position(*top) if whole else Position(found[-1].xid, found[-1].pos)
    return _told(connection, tenant, found), last


_PLACE = (_E.xid, _E.pos)
_TOP = (
    select(*_PLACE)
    .where(_E.xid < oldest_transaction())
    .order_by(_E.xid.desc(), _E.pos.desc())
    .limit(1)
)


def position(connection: Connection, tenant: str, cursor: str) -> Position:
    """How far a cursor has come."""
    row = connection.execute(
        select(_C.xid, _C.pos).where(_C.tenant == tenant, _C.name == cursor)
    ).first()
    return BEGINNING if row is None else Position(row.xid, row.pos)


def move(connection: Connection, tenant: str, cursor: str, to: Position) -> bool:
    """Move a cursor on; returns whether it did: it never goes back."""
    at = read_clock(connection)
    row = {"tenant": tenant, "name": cursor, "xid": to.xid, "pos": to.pos, "changed_at": at}
    insertion = insert_of(connection.dialect.name, table(StreamCursor)).values(row)
    new = insertion.excluded
    ahead = tuple_(_C.xid, _C.pos) < tuple_(new.xid, new.pos)
    moved = insertion.on_conflict_do_update(
        index_elements=["tenant", "name"],
        set_={"xid": new.xid, "pos": new.pos, "changed_at": new.changed_at},
        where=ahead,
    )
    return connection.execute(moved.returning(_C.name)).first() is not None


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
    return [
        {
            "stream": row.stream,
            "seq": row.seq,
            "kind": row.kind,
            "key": row.key,
            "data": _data(seals, tenant, row),
            "at": row.at,
            "run_id": row.run_id,
        }
        for row in rows
    ]


def _data(seals: Seals | None, tenant: str, row: Any) -> Any:
    if row.stream.startswith(SESSION):
        return opened_exchange(seals, row.data, row.run_id)
    return opened_entry(seals, (tenant, row.stream), row.seq, row.data)
