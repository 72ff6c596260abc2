"""Statements that the driver itself is handed: the way round it takes as long as a small write."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy.engine import Connection


class Executed(NamedTuple):
    """The rows that a statement answers with, and how many it wrote."""

    rows: Sequence[Sequence[Any]]
    written: int


def send(connection: Connection, statement: str, values: Any) -> Executed:
    """Execute a statement as ``exec_driver_sql`` does.

    Errors are SQLAlchemy's, and a connection that broke off is dropped as there. Where somebody
    hears of statements, as what traces them does, it goes the way on which they are told.
    """
    if connection.in_transaction() and is_heard(connection):
        told = connection.exec_driver_sql(statement, values)
        return Executed(told.fetchall() if told.returns_rows else (), told.rowcount)
    cursor = connection.connection.cursor()
    try:
        cursor.execute(statement, values)
        return Executed(cursor.fetchall() if cursor.description else (), cursor.rowcount)
    except BaseException as error:  # noqa: BLE001 - it is raised again, as one of SQLAlchemy's
        said = statement if isinstance(error, connection.dialect.loaded_dbapi.Error) else None
        connection._handle_dbapi_exception(error, said, values, cursor, None)  # noqa: SLF001


def is_heard(connection: Connection) -> bool:
    """Return whether somebody hears of the statements that are executed."""
    told: Any = connection.dispatch
    return bool(told.before_cursor_execute or told.after_cursor_execute)
