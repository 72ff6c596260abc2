"""Transactions, which are tried again when the database was away for a moment."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from itertools import chain, repeat
from typing import TypeVar

from sqlalchemy import Engine
from sqlalchemy.engine import Connection
from sqlalchemy.exc import (
    DatabaseError,
    DBAPIError,
    InterfaceError,
    InternalError,
    OperationalError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from app.journal.schema.engine import READ_ONLY, reading, unbracketed
from app.journal.schema.forks import READS, WRITES
from celery_agents.errors import JournalUnavailableError
from celery_agents.redaction import clause

R = TypeVar("R")

#: One write is tried so often when the database was away for a moment.
DATABASE_ATTEMPTS = 4
_AGAIN_OPTION = "journal_again"


def in_transaction(engine: Engine, work: Callable[[Connection], R]) -> R:
    """Run ``work`` in one transaction; try again when the database was away for a moment.

    ``work`` may be run although an earlier try of it was committed, whose answer was lost: then
    :func:`is_again` says of its connection that it is not the first.

    At most ``DATABASE_ATTEMPTS`` tries; a lock that another process holds is waited for in each.

    Raises:
        JournalUnavailableError: the database did not answer, is read-only or full.
    """
    engines = chain([engine], repeat(engine.execution_options(**{_AGAIN_OPTION: True})))
    return tried(lambda: _transaction(next(engines), work))


def in_statements(engine: Engine, work: Callable[[Connection], R]) -> R:
    """Run ``work``, which only reads, without a transaction around it on PostgreSQL.

    Each of its statements is of a moment of its own, and BEGIN and COMMIT are not sent. What it
    finds on SQLite is of one moment. Tries and errors are those of :func:`in_transaction`.
    """
    if engine.dialect.name == "sqlite":
        return in_transaction(reading(engine), work)
    return tried(lambda: _unbracketed(engine, work))


def _unbracketed(engine: Engine, work: Callable[[Connection], R]) -> R:
    with engine.connect() as connection, unbracketed(connection):
        return work(connection)


def is_again(connection: Connection) -> bool:
    """Return whether this transaction is another try of one that may have been committed."""
    return bool(connection.get_execution_options().get(_AGAIN_OPTION))


def tried(transaction: Callable[[], R]) -> R:
    """Run a transaction, however it is made, as :func:`in_transaction` does."""
    try:
        try:
            return transaction()
        except DBAPIError as error:
            if not _passes(error):
                raise
        return _AGAIN.copy()(transaction)
    except PoolTimeoutError as error:
        raise JournalUnavailableError(
            "The journal gave no connection in time: all are in use, or the database is slow. "
            "Nothing was acknowledged; it is tried again."
        ) from error
    except SQLAlchemyError as error:
        if isinstance(error, DBAPIError) and _unavailable(error):
            raise JournalUnavailableError(
                f"The journal could not be written: {clause(error.orig)}. Nothing was "
                "acknowledged. Check DATABASE_URL, and that the database is up, may be written and "
                "has room."
            ) from error
        raise


def between_forks(engine: Engine) -> AbstractContextManager[object]:
    """Return the context of a transaction: SQLite's must not be forked amid (see forks.py)."""
    if engine.dialect.name != "sqlite":
        return nullcontext()
    return READS if engine.get_execution_options().get(READ_ONLY) else WRITES


def _transaction(engine: Engine, work: Callable[[Connection], R]) -> R:
    with between_forks(engine), engine.begin() as connection:
        return work(connection)


def _unavailable(error: DBAPIError) -> bool:
    """Return whether the database, rather than the statement, is at fault."""
    # By branch, not by name: psycopg2 has a class of its own for each SQLSTATE.
    branches = (OperationalError, InternalError, InterfaceError)
    corrupt = type(error) is DatabaseError  # "file is not a database", "disk image is malformed"
    return error.connection_invalidated or corrupt or isinstance(error, branches)


def _passes(error: BaseException) -> bool:
    """Return whether trying again at once makes sense: not for a full disk or a read-only file."""
    if not isinstance(error, DBAPIError) or not _unavailable(error):
        return False
    text = str(error.orig).lower()
    return not any(word in text for word in ("readonly", "read-only", "full", "unable to open"))


#: After a first try, which as a rule is the only one and needs no such machinery.
_AGAIN = Retrying(
    stop=stop_after_attempt(DATABASE_ATTEMPTS - 1),
    wait=wait_random_exponential(multiplier=0.05, max=0.5),
    retry=retry_if_exception(_passes),
    reraise=True,
)
