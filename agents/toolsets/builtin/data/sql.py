"""Tools of SQL."""

from __future__ import annotations

import json
import logging
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Annotated, Any

from pydantic import Field

from agents.tools.calls import ToolError
from agents.toolsets.builtin.data.tabular import Table, columns_of, records_of
from agents.toolsets.builtin.deadlines import TooLateError, deadline
from agents.toolsets.builtin.offer import Short, offer

_MAX_SQL = 10_000
#: Seconds that a query may take, and how many instructions go between two looks at the clock.
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
#: Brackets of SQL up to which reading it ends within some hundredths of a second.
_BRACKET, _FEW_BRACKETS = re.compile(r"[(\[{<]"), 8
_NAME = re.compile(r"[A-Za-z_]\w{0,62}")


@offer(
    {
        "tables": {"orders": "city,cents\nRom,5\nOslo,7\nRom,4\n"},
        "sql": "SELECT city, sum(cents) AS cents FROM orders GROUP BY city ORDER BY city",
    }
)
def query_table(
    tables: Annotated[dict[str, Table], Field(min_length=1, max_length=20)],
    sql: Annotated[str, Field(max_length=_MAX_SQL)],
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


@offer({"sql": "DELETE FROM users WHERE id IN (SELECT id FROM old)"}, "sqlglot")
def inspect_sql(
    sql: Annotated[str, Field(max_length=_MAX_SQL)], dialect: Short = ""
) -> list[dict[str, Any]]:
    """Reads SQL without running it: of each statement its kind, tables, and whether it writes."""
    import sqlglot

    logging.getLogger("sqlglot").setLevel(logging.ERROR)  # its warnings are of users' statements
    # Its parser tries each bracket of some in two ways, and that within each of both. All its calls
    # are looked at then, which is slow.
    nested = len(_BRACKET.findall(sql)) > _FEW_BRACKETS
    try:
        with deadline(_LIMIT_S) if nested else nullcontext():
            parsed = sqlglot.parse(
                sql, dialect=dialect or None, error_level=sqlglot.ErrorLevel.RAISE
            )
    except TooLateError:
        raise ToolError("The SQL takes longer than a second to read. Give a part of it.") from None
    except (sqlglot.errors.SqlglotError, ValueError) as error:
        raise ToolError(f"The SQL cannot be read: {str(error)[:500]}") from None
    except RecursionError:
        raise ToolError("The SQL is nested too deep.") from None
    return [_statement(sqlglot.exp, one) for one in parsed if one is not None]


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
    until = time.monotonic() + _LIMIT_S

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
    database.set_progress_handler(lambda: time.monotonic() > until, instructions)
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


def _statement(exp: Any, parsed: Any) -> dict[str, Any]:
    writing = (
        *(exp.Insert, exp.Update, exp.Delete, exp.Merge),
        *(exp.Create, exp.Drop, exp.Alter, exp.TruncateTable),
    )
    writes, own, tables, columns = list[Any](), set[str](), list[Any](), list[Any]()
    for one in parsed.walk():
        if isinstance(one, exp.Table):
            tables.append(one)
        elif isinstance(one, exp.Column):
            columns.append(one)
        elif isinstance(one, exp.CTE):
            own.add(one.alias_or_name)
        elif isinstance(one, writing):
            writes.append(one)
    into = [parsed.args.get("into")] if isinstance(parsed, exp.Select) else []
    kind = "unknown" if isinstance(parsed, exp.Command) else parsed.key
    return {
        "kind": kind,
        "reads_only": isinstance(parsed, exp.Query) and not writes and not any(into),
        "tables": _names(table for table in tables if table.name not in own),
        "columns": _names(columns),
        "writes_to": _names(
            table
            for one in [*writes, *filter(None, into)]
            for table in [one.find(exp.Table)]
            if table is not None
        ),
    }


def _names(found: Iterable[Any]) -> list[str]:
    told = [".".join(part.name for part in one.parts) for one in found]
    return sorted({*filter(None, told)})


TOOLS = (query_table, inspect_sql)
