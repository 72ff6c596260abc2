"""Tools of SQL."""

from __future__ import annotations

import json
import re
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

from pydantic import Field

from agents.tools.calls import ToolError
from agents.toolsets.builtin.data.tabular import Table, columns_of, records_of
from agents.toolsets.builtin.deadlines import time_limit
from agents.toolsets.builtin.offer import offer

#: Characters of a statement, or of some.
MAX_SQL = 10_000
#: Seconds that a query may compute, and how many instructions go between two looks at the clock.
_LIMIT_S, _INSTRUCTIONS = 0.8, 100
#: Bytes of one value; a query that makes many of them writes files that are gone when it ends.
_MAX_CELL = 100_000
_MAX_RESULT = 1_000_000
_READING = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_RECURSIVE}
_LIMITS = {
    sqlite3.SQLITE_LIMIT_LENGTH: _MAX_CELL,
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
    sqlite3.SQLITE_LIMIT_EXPR_DEPTH: 100,
    sqlite3.SQLITE_LIMIT_COMPOUND_SELECT: 50,
    sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 100,
    sqlite3.SQLITE_LIMIT_COLUMN: 500,
}
#: Functions whose one call may take long, reaches out, or tells of what was done before.
_REFUSED = {
    *("load_extension", "randomblob", "zeroblob", "printf", "format", "json_patch", "unhex"),
    *("changes", "total_changes", "last_insert_rowid"),
}
#: What the names of functions of SQLite's extensions begin with. One of them tells an address in
#: memory, and takes any number for one: a distribution may have built it so.
_REFUSED_FIRST = ("fts", "rtree", "geopoly", "sqlite_log")
#: Those that may take some hundredths of a second: the clock is looked at beside each call.
_SLOW = re.compile(r"(?i)instr|replace|trim|like|glob")
_NAME = re.compile(r"[A-Za-z_]\w{0,62}")


@offer(
    {
        "tables": {"orders": "city,cents\nRom,5\nOslo,7\nRom,4\n"},
        "sql": "SELECT city, sum(cents) AS cents FROM orders GROUP BY city ORDER BY city",
    }
)
def query_table(
    tables: Annotated[dict[str, Table], Field(min_length=1, max_length=20)],
    sql: Annotated[str, Field(max_length=MAX_SQL)],
    most: Annotated[int, Field(ge=1, le=1_000)] = 100,
) -> dict[str, Any]:
    """Queries tables, by name, with a SELECT of SQLite; up to so many rows, within a second."""
    with _empty() as database:
        for name, table in tables.items():
            _load(database, name, table)
        found = _query(database, sql)
        columns = [one[0] for one in found.description or ()]
        rows = _bounded(found, most + 1)
        found.close()
    return {"columns": columns, "rows": rows[:most], "more": len(rows) > most}


class _Kept(threading.local):
    """The database of a thread, where it has one."""

    database: sqlite3.Connection | None = None


_KEPT = _Kept()


@contextmanager
def _empty() -> Iterator[sqlite3.Connection]:
    """A database without tables. Making one takes a third of a call, and emptying one less."""
    database, _KEPT.database = _KEPT.database or _made(), None
    try:
        database.execute("BEGIN")
        yield database
        database.set_authorizer(None)
        database.set_progress_handler(None, 0)
        database.execute("ROLLBACK")
    except BaseException:  # the next call begins with a new one
        database.close()
        raise
    _KEPT.database = database


def _made() -> sqlite3.Connection:
    database = sqlite3.connect(":memory:", cached_statements=0)
    for limit, value in _LIMITS.items():
        database.setlimit(limit, value)
    for strip, act in _STRIPS.items():
        database.create_function(strip, 2, act, deterministic=True)
    return database


def _load(database: sqlite3.Connection, name: str, table: Table) -> None:
    if not _NAME.fullmatch(name) or name.lower().startswith("sqlite_"):
        raise ToolError(f"{name[:80]!r} is no name of a table: use letters, digits and _.")
    records = records_of(table)
    columns = columns_of(records)
    told = ", ".join(_quoted(column) for column in columns)
    try:
        database.execute(f"CREATE TABLE {_quoted(name)} ({told})")
        marks = ", ".join("?" * len(columns))
        database.executemany(
            f"INSERT INTO {_quoted(name)} VALUES ({marks})",  # noqa: S608 - quoted names
            ([_cell(row.get(column)) for column in columns] for row in records),
        )
    except (sqlite3.Error, OverflowError, ValueError) as error:
        raise ToolError(f"The table {name} cannot be loaded: {error}.") from None


def _query(database: sqlite3.Connection, sql: str) -> sqlite3.Cursor:
    """The cursor of a query that may read and do nothing else."""

    def authorize(action: int, _first: str | None, second: str | None, *_: Any) -> int:
        if action in _READING:
            return sqlite3.SQLITE_OK
        name = (second or "").lower()
        refused = name in _REFUSED or name.startswith(_REFUSED_FIRST)
        if action == sqlite3.SQLITE_FUNCTION and not refused:
            return sqlite3.SQLITE_OK
        return sqlite3.SQLITE_DENY

    database.set_authorizer(authorize)
    instructions = 1 if _SLOW.search(sql) else _INSTRUCTIONS
    database.set_progress_handler(time_limit(_LIMIT_S), instructions)
    found: sqlite3.Cursor = _told(lambda: database.execute(sql))
    return found


def _bounded(cursor: sqlite3.Cursor, most: int) -> list[list[Any]]:
    """Rows, up to so many, and up to as many bytes as one value may have."""
    rows: list[list[Any]] = []
    size = 0
    while len(rows) < most and (row := _told(cursor.fetchone)) is not None:
        size += sum(len(cell) if isinstance(cell, str | bytes) else 8 for cell in row)
        if size > _MAX_RESULT:
            raise ToolError("The result is too long. Select fewer columns or rows.")
        rows.append([cell.hex() if isinstance(cell, bytes) else cell for cell in row])
    return rows


def _told(act: Callable[[], Any]) -> Any:
    try:
        return act()
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorname", "") == "SQLITE_INTERRUPT":
            told = "The query takes longer than a second. Give it a limit, or fewer rows."
        elif "authorized" in str(error) or "prohibited" in str(error):
            refused = ", ".join(sorted(_REFUSED))
            told = f"Only SELECT is possible here, of the tables given, without {refused}."
        else:
            told = f"SQLite: {str(error)[:500]}."
        raise ToolError(told) from None


def _stripping(act: Callable[[str, str], str]) -> Callable[[Any, Any], str | None]:
    """SQLite's own function takes time with the product of the lengths of both texts."""

    def strip(value: Any, characters: Any) -> str | None:
        if value is None or characters is None:
            return None
        return act(_text(value), "".join({*_text(characters)}))

    return strip


def _text(value: Any) -> str:
    """A value as SQLite casts it to a text."""
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, float):
        whole, mark, power = f"{value:.15g}".replace("inf", "Inf").partition("e")
        return f"{whole}{'' if '.' in whole or 'I' in whole else '.0'}{mark}{power}"
    return str(value)


_STRIPS = {
    "trim": _stripping(str.strip),
    "ltrim": _stripping(str.lstrip),
    "rtrim": _stripping(str.rstrip),
}


def _cell(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, list | dict) else value


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


TOOLS = (query_table,)
