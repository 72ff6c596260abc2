"""Trimming streams: entries go by their age and by bytes, whoever has read them.

Nobody's cursor stops that. Each that had not come so far is told how many it has missed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    case,
    delete,
    func,
    literal,
    not_,
    or_,
    select,
    tuple_,
    update,
)

from app.journal.following.subscribed import SubscriptionKey
from app.journal.queries.entries import BEGINNING, Position, among, top_of
from app.journal.schema.engine import read_clock
from app.journal.schema.models import Entry, StreamCursor, StreamEnd, StreamRule, table
from app.journal.schema.upsert import insert_of
from celery_agents.contracts.flows.subscriptions import StreamLimits, StreamSet

_C, _E, _R = table(StreamCursor).c, table(Entry).c, table(StreamRule).c
_PLACE = tuple_(_E.xid, _E.pos)
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


class Over(NamedTuple):
    """The entries of streams that are to go, as it was when somebody began to trim them."""

    tenant: str
    of: str
    limits: tuple[float | None, int | None]
    #: Those that were written before, and those up to a position.
    before: float | None
    upto: Position | None


def over(connection: Connection, tenant: str, of: str) -> Over | None:
    """The entries of these streams that are to go; None: there is no such rule, or none is."""
    query = select(*_R).where(_R.tenant == tenant, _R.of == of)
    rule, top = connection.execute(query).first(), top_of(connection)
    if rule is None or top is None:
        return None
    before = None if rule.keep_s is None else read_clock(connection) - rule.keep_s
    upto = None if rule.keep_bytes is None else _end_of_room(connection, rule)
    found = Over(tenant, of, (rule.keep_s, rule.keep_bytes), before, upto)
    return None if before is None and upto is None else found


def trim(connection: Connection, what: Over) -> int:
    """Delete the oldest of these entries, a page of them; their number, -1: none is left.

    Rules may be of the same entries: of a tenant one is at it at a time.
    """
    rules = select(*_R).where(_R.tenant == what.tenant).order_by(_R.of).with_for_update()
    found = [row for row in connection.execute(rules) if row.of == what.of]
    if not found or (found[0].keep_s, found[0].keep_bytes) != what.limits:
        return -1
    (rule,) = found
    oldest, first_kept = _oldest(connection, rule, what)
    if not oldest:
        return -1
    gone = _deleted(connection, oldest)
    if gone:
        _tell(connection, what.tenant, gone)
        _end(connection, what.tenant, gone)
    here = Position(rule.xid, rule.pos)
    places = [Position(row.xid, row.pos) for row in oldest]
    passed = [at for at in places if first_kept is None or at < first_kept]
    here = max([here, *passed])
    about = {**here._asdict(), "trimmed": rule.trimmed + len(gone)}
    moved = update(table(StreamRule)).where(_R.tenant == what.tenant, _R.of == what.of)
    connection.execute(moved.values(**about, changed_at=read_clock(connection)))
    return len(gone)


def _those(connection: Connection, rule: Any) -> ColumnElement[bool]:
    """The condition that an entry is the rule's, and may be read: later ones may yet come amid."""
    top = top_of(connection) or BEGINNING
    after = tuple_(*map(literal, Position(rule.xid, rule.pos))) < _PLACE
    upto = tuple_(*map(literal, top)) >= _PLACE
    return and_(_E.tenant == rule.tenant, among(_E, StreamSet.known(rule.of)), after, upto)


def _oldest(connection: Connection, rule: Any, what: Over) -> tuple[list[Any], Position | None]:
    """The oldest entries that are to go, in the order of all; and where the first one stays."""
    beyond: list[ColumnElement[bool]] = []
    if what.before is not None:
        beyond.append(_E.at < what.before)
    if what.upto is not None:
        beyond.append(tuple_(*map(literal, what.upto)) >= _PLACE)
    those, goes = _those(connection, rule), or_(*beyond)
    order = (_E.xid, _E.pos)
    found = select(_E.xid, _E.pos).where(those, goes).order_by(*order).limit(PAGE)
    oldest = list(connection.execute(found))
    stays = select(_E.xid, _E.pos).where(those, not_(goes)).order_by(*order).limit(1)
    first = connection.execute(stays).first() if oldest else None
    return oldest, None if first is None else Position(*first)


def _end_of_room(connection: Connection, rule: Any) -> Position | None:
    """The position of the newest entry for which there is no room any more."""
    newest = (_E.xid.desc(), _E.pos.desc())
    sums = func.sum(_E.size).over(order_by=newest).label("bytes")
    kept = select(_E.xid, _E.pos, sums).where(_those(connection, rule)).subquery()
    beyond = kept.c.bytes > rule.keep_bytes
    order = (kept.c.xid.desc(), kept.c.pos.desc())
    found = select(kept.c.xid, kept.c.pos).where(beyond).order_by(*order).limit(1)
    row = connection.execute(found).first()
    return None if row is None else Position(*row)


def _deleted(connection: Connection, oldest: Iterable[Any]) -> list[Any]:
    """Delete entries; those that somebody else has just deleted are not among what is told."""
    columns = (_E.xid, _E.pos, _E.stream, _E.seq, _E.kind)
    gone = delete(table(Entry)).where(_E.pos.in_([row.pos for row in oldest]))
    return list(connection.execute(gone.returning(*columns)))


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
        streams, here = StreamSet.known(cursor.of), Position(cursor.xid, cursor.pos)
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
    """Keep the lengths of streams: of one whose last entries have gone no place is given twice.

    Of each, also where entries are left: others may be deleting those just now, and by the order
    of all an entry may go before one that stands ahead of it in its stream.
    """
    ends = Counter[str]()
    for row in over:
        ends[row.stream] = max(ends[row.stream], row.seq + 1)
    rows = [
        {"tenant": tenant, "stream": stream, "length": length}
        for stream, length in sorted(ends.items())
    ]
    insertion = insert_of(connection.dialect.name, table(StreamEnd))
    new, had = insertion.excluded.length, table(StreamEnd).c.length
    longer = {"length": case((new > had, new), else_=had)}
    ended = insertion.on_conflict_do_update(index_elements=["tenant", "stream"], set_=longer)
    connection.execute(ended, rows)
