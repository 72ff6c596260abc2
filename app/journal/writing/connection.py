"""The writer's own connection, kept open: transactions on it, and single statements without one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import chain
from typing import Any, TypeVar

from sqlalchemy import Engine
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from app.journal.schema.engine import SHARED, unbracketed
from app.journal.schema.transactions import between_forks, tried
from app.journal.writing import sqlite
from app.journal.writing.prepared import Prepared, Shot, Written
from app.journal.writing.sending import is_heard, send
from app.journal.writing.sqlite_members import AmissError
from celery_agents.noted import noting

log = logging.getLogger(__name__)

R = TypeVar("R")

#: In a connection's ``info``: the names of the statements that it was told.
_TOLD = "journal_prepared"
#: The server keeps a prepared statement's plan while the tables grow: one that reads a whole table,
#: as is best for a small one, must not be among them.
_BY_INDEX = "SET LOCAL enable_seqscan = off"
#: Nor one that compares each row of a batch with each value, as is best for the ten that it expects
#: in an array: 256 took 30 ms, now 7.
_BY_HASH = "SET LOCAL enable_nestloop = off"
#: A prepared statement that is not there, or there already: between us and the server is a pooler
#: that gives each transaction another connection. It gets ordinary ones.
POOLED = {"26000", "42P05"}


class Held:
    """A connection that is kept open: to take one from the pool costs a round trip each time."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection: Connection | None = None
        self._is_set = False  # as each transaction sees to at its begin (see engine.py)
        #: Whether shots are a way here: prepared statements outlive transactions.
        self.shoots = not engine.get_execution_options().get(SHARED)
        #: Whether they are all written in one transaction, or none of them.
        self.whole = engine.dialect.name == "sqlite"

    def open(self, statements: Sequence[Prepared]) -> None:
        """Open the connection, and have PostgreSQL know statements before anybody waits for them.

        Raises:
            SQLAlchemyError: the database is away.
        """
        if self.whole or not self.shoots:
            with between_forks(self._engine), self._opened():
                return
        try:
            self.statement(lambda connection: _tell(connection, statements))
        except DBAPIError as error:
            self._no_way_if_pooled(error)

    def transaction(self, work: Callable[[Connection], R]) -> R:
        """Run ``work`` in a transaction; a connection that fails is not used again."""
        with between_forks(self._engine), self._opened() as connection, connection.begin():
            return work(connection)

    def statement(self, work: Callable[[Connection], R]) -> R:
        """Run ``work``, a single statement: on PostgreSQL without BEGIN, in one round trip."""
        if self.whole:
            return self.transaction(work)
        with self._opened() as connection, unbracketed(connection), connection.begin():
            return work(connection)

    def shoot(self, shots: Sequence[Shot]) -> Written | None:
        """Run shots all at once; return the rows of what those that answer wrote.

        On PostgreSQL in one round trip: only the last one may answer. On SQLite in one transaction,
        of which a row that is not as it has to be makes nothing. None: nothing was written, and
        this is no way for them.
        """
        if self.whole:
            try:
                return self.transaction(lambda c: sqlite.fire(c, shots))
            except AmissError:
                return None
        try:
            return self._fired(shots)
        except DBAPIError as error:
            self._no_way_if_pooled(error)
        return None

    def _no_way_if_pooled(self, error: DBAPIError) -> None:
        if getattr(error.orig, "pgcode", None) not in POOLED:
            raise error
        self.shoots = False

    def _fired(self, shots: Sequence[Shot]) -> Written:
        """Run shots of PostgreSQL: once some have been, without a transaction of SQLAlchemy's."""
        if not self._is_set or self._connection is None or is_heard(self._connection):
            written = self.statement(lambda c: fire(c, shots))
        else:
            self._is_set = False  # unless it goes well
            with self._opened() as connection, unbracketed(connection):
                written = fire(connection, shots)
        self._is_set = True
        return written

    @contextmanager
    def _opened(self) -> Iterator[Connection]:
        if self._connection is None:
            self._connection = self._engine.connect()
        try:
            yield self._connection
        except DBAPIError:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection, if one is open."""
        if self._connection is not None:
            with noting(log, "journal_connection", "A connection broke off", SQLAlchemyError):
                self._connection.close()
            self._connection, self._is_set = None, False


def held_transaction(held: Held, work: Callable[[Connection], R]) -> R:
    """:func:`app.journal.schema.transactions.in_transaction` on a connection that is kept."""
    return tried(lambda: held.transaction(work))


def fire(connection: Connection, shots: Sequence[Shot]) -> Written:
    """Run shots of PostgreSQL in one round trip; the rows that the last one answers with."""
    told: set[str] = connection.info.setdefault(_TOLD, set())
    command, names = _command(tuple([shot.prepared for shot in shots]))
    if not told.issuperset(names):
        _tell(connection, [shot.prepared for shot in shots])
    values = shots[0].values if len(shots) == 1 else _together(shots)
    sent = send(connection, command, values)
    return {row[0]: row for row in sent.rows} if shots[-1].prepared.answers else {}


def _tell(connection: Connection, statements: Sequence[Prepared]) -> None:
    """Have the server prepare those statements that this connection has not told it yet."""
    told: set[str] = connection.info.setdefault(_TOLD, set())
    for prepared in [p for one in statements for p in (*one.before, one)]:
        if prepared.name not in told:
            send(connection, prepared.command, ())
            told.add(prepared.name)


@lru_cache(maxsize=512)
def _command(all_: tuple[Prepared, ...]) -> tuple[str, frozenset[str]]:
    """Return the text that executes statements at once, and the names of those that it takes."""
    by_hash = [_BY_HASH] if any(one.joined for one in all_) else []
    command = "; ".join([_BY_INDEX, *by_hash, *(one.call for one in all_)])
    return command, frozenset(p.name for one in all_ for p in (*one.before, one))


def _together(shots: Sequence[Shot]) -> tuple[Any, ...]:
    return tuple(chain.from_iterable([shot.values for shot in shots]))
