"""The rows of subscriptions: made, paused, held while they are served, and shown to people."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from functools import partial
from typing import Any, Literal, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    bindparam,
    delete,
    func,
    literal,
    or_,
    select,
    tuple_,
    update,
)

from app.journal.queries.entries import BEGINNING, Position, Which, among, top_of
from app.journal.schema.engine import read_clock
from app.journal.schema.models import Entry, StreamCursor, table
from app.journal.schema.sealed import opened_target, sealed_by, sealed_target
from app.journal.schema.upsert import insert_new
from celery_agents.contracts.flows.schedules import ScheduledRun
from celery_agents.contracts.flows.subscriptions import StreamSet, SubscriptionRule
from celery_agents.errors import InvalidPayloadError, redact
from celery_agents.sealing import readable

_C = table(StreamCursor).c
_E = table(Entry).c
#: Who is served: runs that entries start, or a function of workers.
Serves = Literal["runs", "projection"]
#: One that could not be served at all is looked at again after so long.
PUT_OFF_S = 5.0
#: Entries that a subscription is behind are counted up to here.
BEHIND_MAX = 10_000


class SubscriptionKey(NamedTuple):
    """A subscription's tenant and name."""

    tenant: str
    name: str

    @property
    def place(self) -> str:
        """The place to which its encrypted target belongs."""
        return f"subscription/{self.tenant}\x1f{self.name}"

    def is_it(self) -> ColumnElement[bool]:
        """The condition that a cursor is this one."""
        found: ColumnElement[bool] = (_C.tenant == self.tenant) & (_C.name == self.name)
        return found


class Subscribed(NamedTuple):
    """The streams that a subscription reads, and who is served with them."""

    of: StreamSet
    kind: str | None
    rule: SubscriptionRule
    serves: Serves
    target: dict[str, Any]


def put(connection: Connection, key: SubscriptionKey, wanted: Subscribed) -> None:
    """Make a subscription, or change it: it goes on where it stands, and a pause stays.

    Raises:
        InvalidPayloadError: a client follows by a cursor of that name.
    """
    at = read_clock(connection)
    begin = BEGINNING if wanted.rule.since == "start" else top_of(connection) or BEGINNING
    target = wanted.target
    if wanted.serves == "runs":
        target = sealed_target(sealed_by(connection), target, key.place)
    about = {
        "of": wanted.of.text,
        "kind": wanted.kind,
        "serves": wanted.serves,
        "target": target,
        "rule": wanted.rule.compact(),
        "changed_at": at,
    }
    new = {**key._asdict(), **about, **begin._asdict(), "look_at": at}
    if connection.execute(insert_new(connection, StreamCursor).values(new)).rowcount:
        return
    row = of_name(connection, key)
    if row is None or row.serves != wanted.serves:
        raise InvalidPayloadError(f"The name {key.name} is another cursor's; choose another one.")
    about |= {"failures": 0, "error": None}
    connection.execute(update(table(StreamCursor)).where(key.is_it()).values(about))


def of_name(connection: Connection, key: SubscriptionKey) -> Any:
    """The row of a subscription, held until the transaction ends; None: there is none."""
    query = select(*_C).where(key.is_it(), _C.serves.is_not(None))
    return connection.execute(query.with_for_update()).first()


def held(connection: Connection, key: SubscriptionKey, at: float, serves: Serves) -> Any:
    """The row of a subscription that is to be served, held; None: it is not, or another does."""
    query = select(*_C).where(key.is_it(), _C.serves == serves, _C.look_at <= at)
    return connection.execute(query.with_for_update(skip_locked=True)).first()


def which(row: Any) -> Which:
    """The condition of the entries that a cursor reads."""
    return partial(among, streams=StreamSet.known(row.of), kind=row.kind)


#: One whose time has come, behind or not: as a rule there is none, each second in each worker.
_ANY = (
    select(_C.name).where(_C.look_at <= bindparam("at"), _C.serves == bindparam("serves")).limit(1)
)


def due(
    connection: Connection, at: float, serves: Serves, limit: int, full: Collection[str] = ()
) -> list[SubscriptionKey]:
    """Subscriptions that have something to be served, as far as can be seen without a look.

    Who has waited longest comes first; none whose runs go to a queue that is ``full`` is among
    them, so that these keep no others out of a page.
    """
    if connection.execute(_ANY, {"at": at, "serves": serves}).first() is None:
        return []
    top = top_of(connection) or BEGINNING
    behind = tuple_(_C.xid, _C.pos) < tuple_(*map(literal, top))
    found = (
        select(_C.tenant, _C.name)
        .where(_C.look_at <= at, _C.serves == serves, or_(behind, _C.missed > 0))
        .order_by(_C.look_at, _C.changed_at)
        .limit(limit)
    )
    if full:
        queue = _C.target["queue"].as_string()
        found = found.where(or_(queue.is_(None), queue.not_in(full)))
    return [SubscriptionKey(*row) for row in connection.execute(found)]


def write(connection: Connection, key: SubscriptionKey, values: dict[str, Any], at: float) -> None:
    """Change the row of a subscription that is held."""
    changed = update(table(StreamCursor)).where(key.is_it()).values(**values, changed_at=at)
    connection.execute(changed)


def put_off(connection: Connection, key: SubscriptionKey, why: str) -> None:
    """Serve it again after a while, and not first of all at each look; unless it is paused.

    It is no failure of an entry: another worker, of another version, may serve what this one
    cannot read.
    """
    at = read_clock(connection)
    late = {"look_at": at + PUT_OFF_S, "error": redact(why), "changed_at": at}
    this = key.is_it() & _C.look_at.is_not(None)
    connection.execute(update(table(StreamCursor)).where(this).values(late))


def pause(connection: Connection, key: SubscriptionKey) -> None:
    """Serve nothing until it is resumed. Raises as :func:`resume`."""
    known(connection, key)
    write(connection, key, {"look_at": None}, read_clock(connection))


def resume(connection: Connection, key: SubscriptionKey) -> None:
    """Go on where it stands.

    Raises:
        InvalidPayloadError: there is none of that name.
    """
    known(connection, key)
    at = read_clock(connection)
    write(connection, key, {"look_at": at, "failures": 0, "error": None}, at)


def remove(connection: Connection, key: SubscriptionKey) -> bool:
    """Delete a subscription; its runs stay. Returns whether there was one."""
    gone = delete(table(StreamCursor)).where(key.is_it(), _C.serves.is_not(None))
    return bool(connection.execute(gone).rowcount)


def known(connection: Connection, key: SubscriptionKey, serves: Serves | None = None) -> Any:
    """The row of a subscription, held.

    Raises:
        InvalidPayloadError: there is none of that name, or it serves another.
    """
    row = of_name(connection, key)
    if row is None or serves not in (None, row.serves):
        raise InvalidPayloadError(f"There is no {serves or 'subscription'} {key.name}.")
    return row


def listed(connection: Connection, tenant: str, name: str | None, limit: int) -> list[Any]:
    """Subscriptions of a tenant in the order of their names, or the one of a name, for people."""
    found = select(*_C).where(_C.tenant == tenant, _C.serves.is_not(None)).order_by(_C.name)
    if name is not None:
        found = found.where(_C.name == name)
    return [_shown(connection, row) for row in connection.execute(found.limit(limit)).all()]


def _shown(connection: Connection, row: Any) -> dict[str, Any]:
    key = SubscriptionKey(row.tenant, row.name)
    behind, oldest = _lag(connection, row)
    return {
        **key._asdict(),
        "of": row.of or "",
        "kind": row.kind,
        "serves": row.serves,
        **_what(connection, key, row),
        "rule": row.rule,
        "paused": row.look_at is None,
        **{name: getattr(row, name) for name in ("served", "passed", "failures", "error")},
        "lost": row.lost + row.missed,
        "behind": behind,
        "lag_s": 0.0 if oldest is None else max(read_clock(connection) - oldest, 0.0),
    }


def _what(connection: Connection, key: SubscriptionKey, row: Any) -> dict[str, Any]:
    """Tell what is served, as far as this version can read it."""
    told = row.target if isinstance(row.target, dict) else {}
    if row.serves != "runs":
        return {"version": told.get("version")}
    options: Any = told.get("kwargs")
    with suppress(LookupError, TypeError, AttributeError):  # a newer version has written it
        target = readable(lambda: opened_target(sealed_by(connection), told, key.place))
        options = (target if isinstance(target, dict) else told)["kwargs"]
    options = options if isinstance(options, dict) else {}
    return {"task": told.get("task"), "what": options.get("agent") or options.get("flow")}


def _lag(connection: Connection, row: Any) -> tuple[int, float | None]:
    """How many entries it is behind, those not yet to be read among them, and when they began."""
    if row.of is None:
        return 0, None
    after = tuple_(_E.xid, _E.pos) > tuple_(*map(literal, Position(row.xid, row.pos)))
    those = select(_E.at).where(after, _E.tenant == row.tenant, which(row)(_E)).limit(BEHIND_MAX)
    some = those.subquery()
    counted = select(func.count(), func.min(some.c.at)).select_from(some)
    count, oldest = connection.execute(counted).one()
    return count, oldest


def target_of(connection: Connection, row: Any) -> ScheduledRun:
    """The run that an entry starts.

    Raises:
        UnreadableValueError: it cannot be decrypted.
    """
    key = SubscriptionKey(row.tenant, row.name)
    return ScheduledRun.read(opened_target(sealed_by(connection), row.target, key.place))


def started_by(connection: Connection, key: SubscriptionKey) -> tuple[bool, ScheduledRun | None]:
    """Tell whether there is a subscription, and the run that it starts; of a projection none.

    Raises:
        UnreadableValueError: it cannot be decrypted.
    """
    row = connection.execute(select(*_C).where(key.is_it(), _C.serves.is_not(None))).first()
    run = None if row is None or row.serves != "runs" else target_of(connection, row)
    return row is not None, run
