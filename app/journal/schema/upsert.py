"""Inserts that leave or update rows that are there already, in the SQL of each database."""

from __future__ import annotations

from functools import cache
from typing import Any

from sqlalchemy.engine import Connection
from sqlalchemy.sql.dml import Insert


def insert_new(connection: Connection, model: Any) -> Insert:
    """An INSERT that leaves rows alone that are there already."""
    return insertion(connection.dialect.name, model)


@cache
def insertion(dialect: str, model: Any) -> Insert:
    """Return the same INSERT by the name of the dialect."""
    inserted: Insert = insert_of(dialect, model).on_conflict_do_nothing()
    return inserted


def insert_of(dialect: str, model: Any) -> Any:
    """An INSERT with ``on_conflict_do_nothing`` and ``on_conflict_do_update``."""
    if dialect == "postgresql":
        from sqlalchemy.dialects.postgresql import insert as pg_insert

        return pg_insert(model)
    from sqlalchemy.dialects.sqlite import insert as sqlite_insert

    return sqlite_insert(model)
