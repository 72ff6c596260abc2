"""Positions of entries: an order of all of them that no reader can overtake.

On PostgreSQL numbers of a sequence become visible in another order than they were given, so whoever
follows them misses what commits late. A transaction's own number does not help by itself either;
but below the oldest one that is still under way, nothing can come any more. So a position is the
number of its transaction and a place within, and readers stay below that bound, which is of the
same snapshot as what they read. On SQLite there is one writer at a time, and the place alone does.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement


class transaction_number(FunctionElement[int]):  # noqa: N801 - it stands in SQL like func.now()
    """The number of this transaction, which grows; 0 where there is one writer at a time."""

    type = BigInteger()
    inherit_cache = True


class oldest_transaction(FunctionElement[int]):  # noqa: N801 - as above
    """The number of the oldest transaction that may still write: all below it have ended."""

    type = BigInteger()
    inherit_cache = True


@compiles(transaction_number, "postgresql")
def _number_postgresql(*_: Any, **__: Any) -> str:
    return "CAST(CAST(pg_current_xact_id() AS text) AS bigint)"


@compiles(transaction_number, "sqlite")
def _number_sqlite(*_: Any, **__: Any) -> str:
    return "0"


@compiles(oldest_transaction, "postgresql")
def _oldest_postgresql(*_: Any, **__: Any) -> str:
    return "CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS text) AS bigint)"


@compiles(oldest_transaction, "sqlite")
def _oldest_sqlite(*_: Any, **__: Any) -> str:
    return "1"
