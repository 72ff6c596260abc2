"""Sessions, read and kept in order: what their exchanges are, copies of them, their end."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Text, cast, delete, func, insert, literal, select

from app.journal.schema.engine import read_clock
from app.journal.schema.models import Entry, Session, Wait, table
from app.journal.schema.positions import transaction_number
from app.journal.schema.sealed import opened_exchange, sealed_by, shown_exchange
from app.journal.schema.transactions import is_again
from app.journal.schema.upsert import insertion
from app.journal.steps.sessions import is_held, name_of, stream_of
from celery_agents.errors import InvalidPayloadError

_T = table(Session).c
_E = table(Entry).c
_W = table(Wait).c
#: Exchanges of one page, and the characters at which it ends sooner (one is always in it).
PAGE_ROWS, PAGE_CHARACTERS = 100, 1_000_000
_SIZE = func.length(cast(_E.data, Text))
Rows = list[dict[str, Any]]


def exchanges(
    connection: Connection, tenant: str, name: str, begins: int, ends: int, *, shown: bool = False
) -> Rows:
    """The exchanges from one place to before another, in their order; ``shown`` to people."""
    rows = connection.execute(
        select(_E.seq, _E.run_id, _E.at, _E.tokens, _E.data)
        .where(_of(tenant, name), _E.seq >= begins, _E.seq < ends)
        .order_by(_E.seq)
    )
    seals = sealed_by(connection)
    return [
        {
            "place": r.seq,
            "run_id": r.run_id,
            "at": r.at,
            "tokens": r.tokens,
            **(shown_exchange if shown else opened_exchange)(seals, r.data, r.run_id),
        }
        for r in rows
    ]


def page(connection: Connection, tenant: str, name: str, after: int) -> dict[str, Any]:
    """Exchanges from place ``after`` + 1 on.

    Returns ``exchanges``, and ``more``: the place after which the next page begins, or None.

    Raises:
        InvalidPayloadError: there is no such session.
    """
    whole = _found(connection, tenant, name).exchanges
    sizes = connection.execute(
        select(_E.seq, _SIZE.label("size"))
        .where(_of(tenant, name), _E.seq > after)
        .order_by(_E.seq)
        .limit(PAGE_ROWS)
    )
    last, characters = after, 0
    for row in sizes:
        characters += row.size
        if characters > PAGE_CHARACTERS and last > after:
            break
        last = row.seq
    found = exchanges(connection, tenant, name, after + 1, last + 1, shown=True)
    return {"exchanges": found, "more": last if last + 1 < whole and last > after else None}


def waited_for(connection: Connection, step_id: str) -> str | None:
    """The session that a run waits for, and the run that holds it, in words; None: none."""
    at = connection.execute(select(_W.tenant, _W.stream).where(_W.step_id == step_id)).first()
    if at is None:
        return None
    name = name_of(at.stream)
    holder = select(_T.holder).where(_T.tenant == at.tenant, _T.name == name)
    return f"session {name}, held by {connection.execute(holder).scalar() or 'nobody'}"


def listed(connection: Connection, tenant: str, limit: int) -> Rows:
    """Sessions, the last one changed first."""
    query = select(table(Session)).where(_T.tenant == tenant)
    rows = connection.execute(query.order_by(_T.changed_at.desc(), _T.name).limit(limit))
    return [
        {
            "name": r.name,
            "tenant": r.tenant,
            "exchanges": r.exchanges,
            "created_at": r.created_at,
            "changed_at": r.changed_at,
            "holder": r.holder,
        }
        for r in rows
    ]


def fork(connection: Connection, tenant: str, name: str, copy: str, upto: int | None) -> int:
    """Begin a session with the exchanges of another one, or with its first ``upto``.

    Returns how many those are.

    Raises:
        InvalidPayloadError: there is no such session, or one of the copy's name.
    """
    whole = _found(connection, tenant, name, lock=True).exchanges
    number: int = whole if upto is None else min(upto, whole)
    at = read_clock(connection)
    row = {"tenant": tenant, "name": copy, "exchanges": number, "created_at": at, "changed_at": at}
    made = insertion(connection.dialect.name, Session).values(row).returning(_T.name)
    if connection.execute(made).first() is None:
        if is_again(connection):  # the first try was committed
            return number
        raise InvalidPayloadError(f"There is a session {copy!r} already.")
    own: dict[str, Any] = {"stream": literal(stream_of(copy)), "xid": transaction_number()}
    same = [column for column in table(Entry).columns if column.name not in {*own, "pos"}]
    copied = select(*own.values(), *same).where(_of(tenant, name), _E.seq < number)
    copied = copied.order_by(_E.seq)
    names = [*own, *(column.name for column in same)]
    connection.execute(insert(table(Entry)).from_select(names, copied))
    return number


def forget(connection: Connection, tenant: str, name: str) -> bool:
    """Delete a session with its exchanges; returns whether there was one.

    Raises:
        InvalidPayloadError: a run is adding to it.
    """
    session = _one(connection, tenant, name, lock=True)
    if session is None:
        return False
    if is_held(connection, session.holder):
        raise InvalidPayloadError(
            f"The run {session.holder} holds the session {name!r}: wait for its end, or cancel it."
        )
    connection.execute(delete(table(Entry)).where(_of(tenant, name)))
    connection.execute(delete(table(Session)).where(_this(tenant, name)))
    return True


def _of(tenant: str, name: str) -> Any:
    return (_E.tenant == tenant) & (_E.stream == stream_of(name))


def _this(tenant: str, name: str) -> Any:
    return (_T.tenant == tenant) & (_T.name == name)


def _one(connection: Connection, tenant: str, name: str, *, lock: bool = False) -> Any:
    query = select(_T.exchanges, _T.holder).where(_this(tenant, name))
    return connection.execute(query.with_for_update() if lock else query).first()


def _found(connection: Connection, tenant: str, name: str, *, lock: bool = False) -> Any:
    session = _one(connection, tenant, name, lock=lock)
    if session is None:
        raise InvalidPayloadError(f"There is no session {name!r}.")
    return session
