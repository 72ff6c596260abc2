"""Projections: a function of workers is given each entry, and the cursor moves with what it writes.

One that writes by the journal's connection has both in one transaction, under the lock of the
cursor's row. One that writes elsewhere is given a page outside of any; its cursor is moved only if
nobody else moved it meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine

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
        return in_transaction(engine, lambda c: _inside(c, key, how))
    taken = in_transaction(engine, lambda c: _taken(c, key, how))
    if taken is None:
        return Page()
    row, rows, last = taken
    if _AGAIN in row.target:
        how.reset(None)
    found = _given(engine, row, rows, lambda event: how.apply(event, None))
    in_transaction(engine, lambda c: _moved(c, key, row, (rows, last, found), how))
    return found


def _inside(connection: Connection, key: SubscriptionKey, how: Projecting) -> Page:
    row = _row(connection, key, how)
    if row is None:
        return Page()
    if _AGAIN in row.target:
        how.reset(connection)
    here, which = Position(row.xid, row.pos), subscribed.which(row)
    rows, last = behind(connection, key.tenant, which, here, PAGE)

    def apply(event: dict[str, Any]) -> None:
        with connection.begin_nested():
            how.apply(event, connection)

    found = _given(connection, row, rows, apply)
    if connection.invalidated and found.error is not None:
        raise found.error  # not the function's: the transaction is tried again as a whole
    _moved(connection, key, row, (rows, last, found), how)
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


def _given(
    of: Connection | Engine, row: Any, rows: list[Any], apply: Callable[[dict[str, Any]], object]
) -> Page:
    seals = sealed_by(of)
    for place, entry in enumerate(rows):
        try:
            apply(entry_of(seals, row.tenant, entry))
        except Exception as error:  # noqa: BLE001 - it is somebody else's code, and is told
            return Page(place, more=True, error=error)
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
