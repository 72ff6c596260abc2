"""Cursors of clients: moved by whoever follows, and told what was trimmed before he came."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, case, select, tuple_, update

from app.journal.queries.entries import BEGINNING, Position
from app.journal.schema.engine import read_clock
from app.journal.schema.models import StreamCursor, table
from app.journal.schema.upsert import insert_new
from celery_agents.contracts.flows.subscriptions import GAP
from celery_agents.errors import InvalidPayloadError

_C = table(StreamCursor).c


def begin(connection: Connection, tenant: str, name: str, of: str) -> None:
    """Make a cursor that reads these streams; one that is there reads them from now on."""
    row = {"tenant": tenant, "name": name, "of": of, "changed_at": read_clock(connection)}
    made = insert_new(connection, StreamCursor).values({**row, **BEGINNING._asdict()})
    if not connection.execute(made).rowcount:
        this = (_C.tenant == tenant) & (_C.name == name) & _C.serves.is_(None)
        connection.execute(update(table(StreamCursor)).where(this).values(of=of))


def find(connection: Connection, tenant: str, name: str) -> Any:
    """A client's cursor; None: there is none.

    Raises:
        InvalidPayloadError: it is a subscription's, which workers move.
    """
    found = select(_C.xid, _C.pos, _C.of, _C.missed, _C.serves)
    row = connection.execute(found.where(_C.tenant == tenant, _C.name == name)).first()
    if row is not None and row.serves is not None:
        told = f"The cursor {name} is a subscription's; follow by another one."
        raise InvalidPayloadError(told)
    return row


def move(connection: Connection, tenant: str, name: str, to: Position, told: int = 0) -> None:
    """Move a cursor on, never back; so many trimmed entries were told."""
    ahead = tuple_(_C.xid, _C.pos) < tuple_(*to)
    left = case((_C.missed > told, _C.missed - told), else_=0)
    moved = {
        "xid": case((ahead, to.xid), else_=_C.xid),
        "pos": case((ahead, to.pos), else_=_C.pos),
        "missed": left,
        "lost": _C.lost + _C.missed - left,
        "changed_at": read_clock(connection),
    }
    this = (_C.tenant == tenant) & (_C.name == name) & _C.serves.is_(None)
    connection.execute(update(table(StreamCursor)).where(this).values(moved))


def gap(of: str, missed: int, at: float) -> dict[str, Any]:
    """The entry that tells how many were trimmed before they were read."""
    about = {"key": None, "run_id": None, "at": at, "data": {"missed": missed}}
    return {"stream": of, "seq": -1, "kind": GAP, **about}
