"""Trimming streams: entries go by their age and by bytes, whoever has read them.

Nobody's cursor stops that. Each that had not come so far is told how many it has missed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    delete,
    func,
    literal,
    or_,
    select,
    tuple_,
    update,
)

from app.journal.following.subscribed import SubscriptionKey
from app.journal.queries.entries import BEGINNING, Position, among
from app.journal.schema.engine import read_clock
from app.journal.schema.models import Entry, StreamCursor, StreamEnd, StreamRule, table
from app.journal.schema.upsert import insert_of
from celery_agents.contracts.flows.subscriptions import StreamLimits, StreamSet

_C, _E, _R = table(StreamCursor).c, table(Entry).c, table(StreamRule).c
#: Entries of one transaction.
PAGE = 1_000


def keep(
    connection: Connection, tenant: str, streams: StreamSet, limits: StreamLimits | None
) -> None:
    """Keep the entries of these streams so long from now on; None: all of them for ever."""
    gone = delete(table(StreamRule)).where(_R.tenant == tenant, _R.of == streams.text)
    if limits is None:
        connection.execute(gone)
        return
    told = {**limits.model_dump(), "changed_at": read_clock(connection)}
    row = {"tenant": tenant, "of": streams.text, **told, **BEGINNING._asdict()}
    insertion = insert_of(connection.dialect.name, table(StreamRule)).values(row)
    kept = insertion.on_conflict_do_update(index_elements=["tenant", "of"], set_=told)
    connection.execute(kept)


def kept(connection: Connection, tenant: str | None = None) -> list[dict[str, Any]]:
    """The rules of a tenant, or of all."""
    found = select(*_R).order_by(_R.tenant, _R.of)
    if tenant is not None:
        found = found.where(_R.tenant == tenant)
    names = ("of", "tenant", "trimmed")
    return [
        {name: getattr(row, name) for name in names}
        | {"limits": {"keep_s": row.keep_s, "keep_bytes": row.keep_bytes}}
        for row in connection.execute(found)
    ]


def trim(connection: Connection, tenant: str, of: str) -> int:
    """Delete the oldest entries of these streams that are to go, a page of them; their number."""
    query = select(*_R).where(_R.tenant == tenant, _R.of == of)
    rule = connection.execute(query.with_for_update(skip_locked=True)).first()
    if rule is None:
        return 0
    at = read_clock(connection)
    over = _over(connection, rule, at)
    if not over:
        return 0
    _tell(connection, tenant, over)
    connection.execute(delete(table(Entry)).where(_E.pos.in_([row.pos for row in over])))
    _end(connection, tenant, over)
    last, count = over[-1], rule.trimmed + len(over)
    moved = {"xid": last.xid, "pos": last.pos, "trimmed": count, "changed_at": at}
    this = (_R.tenant == tenant) & (_R.of == of)
    connection.execute(update(table(StreamRule)).where(this).values(moved))
    return len(over)


def _over(connection: Connection, rule: Any, at: float) -> list[Any]:
    """The oldest entries that are to go, in the order of all."""
    place = tuple_(_E.xid, _E.pos)
    after = place > tuple_(*map(literal, Position(rule.xid, rule.pos)))
    those = and_(_E.tenant == rule.tenant, among(_E, StreamSet.of(rule.of)), after)
    over: list[ColumnElement[bool]] = []
    if rule.keep_s is not None:
        over.append(_E.at < at - rule.keep_s)
    if rule.keep_bytes is not None and (end := _end_of_room(connection, rule, those)) is not None:
        over.append(place <= tuple_(*map(literal, end)))
    if not over:
        return []
    columns = (_E.xid, _E.pos, _E.stream, _E.seq, _E.kind)
    found = select(*columns).where(those, or_(*over)).order_by(_E.xid, _E.pos).limit(PAGE)
    return list(connection.execute(found))


def _end_of_room(connection: Connection, rule: Any, those: ColumnElement[bool]) -> Position | None:
    """The position of the newest entry for which there is no room any more."""
    newest = (_E.xid.desc(), _E.pos.desc())
    sums = func.sum(_E.size).over(order_by=newest).label("bytes")
    kept = select(_E.xid, _E.pos, sums).where(those).subquery()
    beyond = kept.c.bytes > rule.keep_bytes
    order = (kept.c.xid.desc(), kept.c.pos.desc())
    found = select(kept.c.xid, kept.c.pos).where(beyond).order_by(*order).limit(1)
    row = connection.execute(found).first()
    return None if row is None else Position(*row)


def _tell(connection: Connection, tenant: str, over: Iterable[Any]) -> None:
    """Note with each cursor how many of these it had not come to."""
    last = max(Position(row.xid, row.pos) for row in over)
    query = (
        select(_C.name, _C.xid, _C.pos, _C.of, _C.kind)
        .where(_C.tenant == tenant, _C.of.is_not(None))
        .where(tuple_(_C.xid, _C.pos) < tuple_(*map(literal, last)))
        .order_by(_C.name)
    )
    for cursor in connection.execute(query.with_for_update()).all():
        streams, here = StreamSet.of(cursor.of), Position(cursor.xid, cursor.pos)
        missed = sum(
            Position(row.xid, row.pos) > here
            and row.stream in streams
            and cursor.kind in {None, row.kind}
            for row in over
        )
        if missed:
            key = SubscriptionKey(tenant, cursor.name)
            more = {"missed": _C.missed + missed}
            connection.execute(update(table(StreamCursor)).where(key.is_it()).values(more))


def _end(connection: Connection, tenant: str, over: Iterable[Any]) -> None:
    """Keep the lengths of streams that have no entry left: no place is given twice."""
    ends = Counter[str]()
    for row in over:
        ends[row.stream] = max(ends[row.stream], row.seq + 1)
    there = select(_E.stream).where(_E.tenant == tenant, _E.stream.in_([*ends])).distinct()
    left = set(connection.execute(there).scalars())
    rows = [
        {"tenant": tenant, "stream": stream, "length": length}
        for stream, length in ends.items()
        if stream not in left
    ]
    if rows:
        insertion = insert_of(connection.dialect.name, table(StreamEnd))
        longer = {"length": insertion.excluded.length}
        ended = insertion.on_conflict_do_update(index_elements=["tenant", "stream"], set_=longer)
        connection.execute(ended, rows)
