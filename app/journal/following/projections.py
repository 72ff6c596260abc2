"""Projections: a function of workers is given each entry, and the cursor moves with what it writes.

One that writes by the journal's connection has both in one transaction, under the lock of the
cursor's row. One that writes elsewhere is given a page outside of any; its cursor is moved only if
nobody else moved it meanwhile.

A transaction that writes holds up those who follow: on PostgreSQL they stay below the oldest one,
on SQLite nobody else writes. So a page ends with the time, whatever the function does.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy import Connection, Engine, text

from app.journal.following import poison, subscribed
from app.journal.following.subscribed import Subscribed, SubscriptionKey
from app.journal.queries.entries import BEGINNING, Position, behind, entry_of
from app.journal.schema.engine import read_clock
from app.journal.schema.sealed import sealed_by
from app.journal.schema.transactions import in_transaction

#: Entries of one transaction: on SQLite nobody else writes meanwhile.
PAGE = 100
#: A page that is given outside of a transaction is nobody else's for so long.
HELD_S = 60.0
#: A page ends after so much work: followers see nothing that was written since it began.
WORK_S = 1.0
#: Seconds that a function may let the database wait amid a transaction, and those of a statement of
#: its: then PostgreSQL ends it, and the entry has failed. Emptying a table takes longer.
BLOCKED_S, EMPTYING_S = 10.0, 300.0
_AGAIN = "again"


@dataclass(frozen=True, slots=True)
class Projecting:
    """All that projecting needs of the process that does it."""

    version: int
    #: Is given an entry, and the connection that it writes by if it is ``inside``.
    apply: Callable[[dict[str, Any], Any], object]
    #: Empties what it has written.
    reset: Callable[[Any], object]
    inside: bool
    letters_max: int


@dataclass(slots=True)
class Page:
    """The outcome of a look at a projection."""

    #: Entries that it was given.
    given: int = 0
    #: Whether it may have more to be given at once.
    more: bool = False
    error: Exception | None = None


class ProjectionBlockedError(Exception):
    """The database has ended a transaction amid which a function did something else for long."""

    def __init__(self, row: Any, rows: list[Any], place: int) -> None:
        super().__init__(f"it let the database wait for more than {BLOCKED_S:g} s amid its writes")
        self.row, self.rows, self.place = row, rows, place


@dataclass(slots=True)
class _Giving:
    """How entries of a page are given; the one that it is at, and since when."""

    apply: Callable[[dict[str, Any]], object]
    around: Callable[[], AbstractContextManager[object]] = nullcontext
    place: int = -1
    began: float = 0.0

    def blocked(self) -> bool:
        """Return whether that entry has taken as long as the database waits."""
        return self.place >= 0 and time.monotonic() - self.began >= BLOCKED_S


def register(connection: Connection, key: SubscriptionKey, wanted: Subscribed) -> None:
    """Make a projection known; one of a greater version begins anew, one of a smaller is left.

    Raises:
        InvalidPayloadError: another cursor has its name.
    """
    row = subscribed.of_name(connection, key)
    if row is None or row.serves != "projection":
        subscribed.put(connection, key, wanted)
        return
    if row.target["version"] <= wanted.target["version"]:
        rises = row.target["version"] < wanted.target["version"]
        subscribed.put(connection, key, wanted._replace(target={**row.target, **wanted.target}))
        if rises:
            rebuild(connection, key)


def rebuild(connection: Connection, key: SubscriptionKey) -> None:
    """Have a projection begin anew; a worker that has it empties it first.

    Raises:
        InvalidPayloadError: there is none of that name.
    """
    row = subscribed.known(connection, key, "projection")
    at = read_clock(connection)
    anew = {**BEGINNING._asdict(), "served": 0, "passed": 0, "failures": 0, "error": None}
    values = {**anew, "target": {**row.target, _AGAIN: True}, "look_at": at}
    subscribed.write(connection, key, values, at)


def project(engine: Engine, key: SubscriptionKey, how: Projecting) -> Page:
    """Give a projection its next entries, unless another process just does."""
    if how.inside:
        try:
            return in_transaction(engine, lambda c: _inside(c, key, how, PAGE))
        except ProjectionBlockedError as error:
            if error.place:  # those before it; then it is the first one of a page
                return in_transaction(engine, partial(_inside, key=key, how=how, most=error.place))
            return in_transaction(engine, partial(_refused, key=key, how=how, error=error))
    taken = in_transaction(engine, lambda c: _taken(c, key, how))
    if taken is None:
        return Page()
    row, rows, last = taken
    if _AGAIN in row.target:
        how.reset(None)
    found = _given(engine, row, rows, _Giving(lambda event: how.apply(event, None)))
    in_transaction(engine, lambda c: _moved(c, key, row, (rows, last, found), how))
    return found


def _inside(connection: Connection, key: SubscriptionKey, how: Projecting, most: int) -> Page:
    row = _row(connection, key, how)
    if row is None:
        return Page()
    if _AGAIN in row.target:
        _bound(connection, EMPTYING_S)
        how.reset(connection)
    here, which = Position(row.xid, row.pos), subscribed.which(row)
    rows, last = behind(connection, key.tenant, which, here, most)
    _bound(connection, BLOCKED_S)
    found = _at_once(connection, row, rows, how) if rows else Page()
    if found is None:  # all of it was undone
        found = _one_by_one(connection, row, rows, how)
    _moved(connection, key, row, (rows, last, found), how)
    return found


def _bound(connection: Connection, statement_s: float) -> None:
    """Have PostgreSQL end this transaction where it is let wait, and statements of so long."""
    if connection.dialect.name == "postgresql":
        limits = {"idle_in_transaction_session_timeout": BLOCKED_S}
        limits["statement_timeout"] = statement_s
        told = [f"SET LOCAL {name} = {1_000 * limit:.0f}" for name, limit in limits.items()]
        connection.execute(text("; ".join(told)))


def _at_once(connection: Connection, row: Any, rows: list[Any], how: Projecting) -> Page | None:
    """Give a page under one savepoint; None: an entry failed, and nothing of it is left."""
    giving, found = _Giving(lambda event: how.apply(event, connection)), Page()
    try:
        with connection.begin_nested() as nested:
            found = _given(connection, row, rows, giving)
            if found.error is None:
                _refuse_broken(connection)
            else:
                nested.rollback()
    except Exception as error:  # noqa: BLE001 - as below
        _refuse_lost(connection, giving, row, rows, error)
        return None
    _refuse_lost(connection, giving, row, rows, found.error)
    return found if found.error is None else None


def _one_by_one(connection: Connection, row: Any, rows: list[Any], how: Projecting) -> Page:
    """Give a page entry by entry, up to the one that fails."""

    def apply(event: dict[str, Any]) -> None:
        how.apply(event, connection)
        _refuse_broken(connection)

    giving = _Giving(apply, connection.begin_nested)
    found = _given(connection, row, rows, giving)
    _refuse_lost(connection, giving, row, rows, found.error)
    return found


def _refuse_broken(connection: Connection) -> None:
    """See that the function has hidden no error of a statement: PostgreSQL goes no further then.

    Raises:
        SQLAlchemyError: it has.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT 1"))


def _refuse_lost(
    connection: Connection, giving: _Giving, row: Any, rows: list[Any], error: Exception | None
) -> None:
    """Go no further with a connection that broke off.

    Raises:
        ProjectionBlockedError: the function is to blame.
        Exception: nobody is: the transaction is tried again as a whole.
    """
    if error is not None and connection.invalidated:
        if giving.blocked():
            raise ProjectionBlockedError(row, rows, giving.place) from error
        raise error


def _refused(
    connection: Connection, key: SubscriptionKey, how: Projecting, error: ProjectionBlockedError
) -> Page:
    """Note that the first entry of a page has failed."""
    found = Page(error=error)
    _moved(connection, key, error.row, (error.rows, BEGINNING, found), how)
    return found


def _row(connection: Connection, key: SubscriptionKey, how: Projecting) -> Any:
    row = subscribed.held(connection, key, read_clock(connection), "projection")
    return row if row is not None and row.target["version"] == how.version else None


def _taken(connection: Connection, key: SubscriptionKey, how: Projecting) -> Any:
    """A page for this process alone; None: there is none, or another has it."""
    row, at = _row(connection, key, how), read_clock(connection)
    if row is None:
        return None
    here, which = Position(row.xid, row.pos), subscribed.which(row)
    rows, last = behind(connection, key.tenant, which, here, PAGE)
    subscribed.write(connection, key, {"look_at": at + HELD_S}, at)
    return row, rows, last


def _given(of: Connection | Engine, row: Any, rows: list[Any], giving: _Giving) -> Page:
    """Give entries of a page, up to the one that fails, or as many as its time allows."""
    seals, until = sealed_by(of), time.monotonic() + WORK_S
    for place, entry in enumerate(rows):
        giving.place, giving.began = place, time.monotonic()
        try:
            with giving.around():
                giving.apply(entry_of(seals, row.tenant, entry))
        except Exception as error:  # noqa: BLE001 - it is somebody else's code, and is told
            return Page(place, more=True, error=error)
        if time.monotonic() >= until:
            return Page(place + 1, more=True)
    return Page(len(rows), more=bool(rows))


def _moved(
    connection: Connection,
    key: SubscriptionKey,
    row: Any,
    page: tuple[list[Any], Position, Page],
    how: Projecting,
) -> None:
    """Move the cursor behind what was given, unless it is not where it was."""
    rows, last, found = page
    if found.error is None and found.given < len(rows):
        rows = rows[: found.given]
        last = Position(rows[-1].xid, rows[-1].pos)
    now = subscribed.of_name(connection, key)
    if now is None or (now.xid, now.pos, now.target) != (row.xid, row.pos, row.target):
        return
    at, error = read_clock(connection), found.error
    why = None if error is None else f"{type(error).__name__}: {error}"
    values = poison.after_page(
        connection,
        now,
        poison.PageEnd(rows, last, found.given, why),
        at=at,
        letters_max=how.letters_max,
    )
    if now.look_at is None:  # it was paused meanwhile
        values["look_at"] = None
    if _AGAIN in row.target:
        values["target"] = {name: told for name, told in row.target.items() if name != _AGAIN}
    subscribed.write(connection, key, values, at)
