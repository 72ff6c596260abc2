"""Projections and a reducer for the workers of the tests."""

from __future__ import annotations

from typing import Any

from sqlalchemy import text

from celery_agents import projection, reducer

TABLE = "CREATE TABLE IF NOT EXISTS paid (stream text PRIMARY KEY, sum integer)"


def emptied(connection: Any) -> None:
    connection.execute(text("DELETE FROM paid"))


@projection("paid/*", kind="paid", reset=emptied)
def paid(entry: Any, connection: Any) -> None:
    """Adds up what was paid."""
    told = {"s": entry.stream, "n": entry.data["n"]}
    add = "ON CONFLICT (stream) DO UPDATE SET sum = paid.sum + excluded.sum"
    connection.execute(text(f"INSERT INTO paid VALUES (:s, :n) {add}"), told)


@reducer(every=20)
def balance(state: int | None, entry: Any) -> int:
    """The sum of what was paid."""
    return (state or 0) + int(entry.data["n"])
