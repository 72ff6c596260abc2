"""Deleting many rows a portion at a time, each of which holds its locks for a bounded time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, Table, delete, select
from sqlalchemy.exc import OperationalError

from app.journal.schema.transactions import in_transaction

_LARGEST = 5_000
#: Of the time that a lock may be held: what a portion aims at, and when its statement is cut off.
#: In between rows may be larger, or the disk slower, than before; the rest is for the commit.
_AIM, _CUT_OFF = 0.25, 0.6
#: SQLite asks whether to go on after so many instructions of its machine.
_INSTRUCTIONS = 2_000


class Pace:
    """How many rows of one table a transaction may delete so that it stays under ``lock_s``."""

    def __init__(self, size: int, lock_s: float) -> None:
        self.size = max(1, size)
        self._aim_s = _AIM * lock_s

    def took(self, seconds: float, rows: int, *, cut_off: bool = False) -> None:
        """Adapt to the time that so many rows took. A small, quick rest tells nothing.

        Of those that were ``cut_off`` nobody knows what they would have taken.
        """
        factor = 0.25 if cut_off else self._aim_s / max(seconds, 1e-6)
        if factor < 1 or rows >= self.size:
            self.size = min(_LARGEST, max(1, int(self.size * min(2.0, factor))))


@dataclass(frozen=True, slots=True)
class Portion:
    """The result of deleting one portion."""

    deleted: int  # rows; fewer than were asked for when some are not to go any more
    held_s: float  # with the commit, without waiting for the locks of others
    cut_off: bool = False  # it took too long and nothing was deleted


class _TooLongError(Exception):
    """The statement was cut off. No error of the database: trying again at once would not help."""


def delete_portion(
    engine: Engine,
    table: Table,
    keys: Sequence[Any],
    lock_s: float,
    where: Callable[[Connection], ColumnElement[bool]] | None = None,
) -> Portion:
    """Delete rows by their keys, those of which ``where`` holds; none when that takes too long.

    ``where`` is asked in the transaction, just before, and may take locks.

    A single row is deleted however long it takes: there is no smaller portion.
    """
    (key,) = table.primary_key
    limit_s = _CUT_OFF * lock_s if len(keys) > 1 else None
    began, deleted = 0.0, 0

    def work(connection: Connection) -> None:
        nonlocal began, deleted
        began = time.monotonic()  # on SQLite the transaction began with its lock
        with _cut_off(connection, limit_s):
            chosen = key.in_(keys) if where is None else key.in_(keys) & where(connection)
            if engine.dialect.name == "postgresql":  # who has what is locked may want the run
                chosen = key.in_(select(key).where(chosen).with_for_update(skip_locked=True))
            deleted = connection.execute(delete(table).where(chosen)).rowcount

    try:
        in_transaction(engine, work)
    except _TooLongError:
        return Portion(0, time.monotonic() - began, cut_off=True)
    return Portion(deleted, time.monotonic() - began)


@contextmanager
def _cut_off(connection: Connection, limit_s: float | None) -> Iterator[None]:
    """Raise _TooLongError from a statement that takes longer; None: it may."""
    limited = _on_postgres if connection.dialect.name == "postgresql" else _on_sqlite
    began = time.monotonic()
    try:
        with limited(connection, limit_s):
            yield
    except OperationalError as error:
        if limit_s is None or time.monotonic() - began < limit_s:
            raise
        raise _TooLongError from error


@contextmanager
def _on_postgres(connection: Connection, limit_s: float | None) -> Iterator[None]:
    # No commit waits for the disk: what a crash brings back is deleted the next time.
    connection.exec_driver_sql("SET LOCAL synchronous_commit = off")
    limit_ms = 0 if limit_s is None else max(1, round(1000 * limit_s))  # 0: none
    connection.exec_driver_sql(f"SET LOCAL statement_timeout = {limit_ms}")
    yield


@contextmanager
def _on_sqlite(connection: Connection, limit_s: float | None) -> Iterator[None]:
    if limit_s is None:
        yield
        return
    raw: Any = connection.connection.driver_connection
    until = time.monotonic() + limit_s
    raw.set_progress_handler(lambda: time.monotonic() > until, _INSTRUCTIONS)
    try:
        yield
    finally:
        raw.set_progress_handler(None, 0)
