"""The tool that reads statements of SQL without running them."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Iterable
from functools import cache, partial
from typing import Annotated, Any

from pydantic import Field

from agents.tools.calls import ToolError
from agents.toolsets.builtin.data.sql import MAX_SQL
from agents.toolsets.builtin.deadlines import TooLateError
from agents.toolsets.builtin.offer import Short, offer

#: Seconds within which SQL is read.
_LIMIT_S = 0.8
#: With which sqlglot underlines a place in a terminal.
_ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


@offer({"sql": "DELETE FROM users WHERE id IN (SELECT id FROM old)"}, "sqlglot")
def inspect_sql(
    sql: Annotated[str, Field(max_length=MAX_SQL)], dialect: Short = ""
) -> list[dict[str, Any]]:
    """Reads SQL without running it: of each statement its kind, tables, and whether it writes."""
    from sqlglot.errors import SqlglotError

    try:
        parsed = _read(sql, dialect)
    except TooLateError:
        raise ToolError("The SQL takes longer than a second to read. Give a part of it.") from None
    except (SqlglotError, ValueError) as error:
        told = _ESCAPES.sub("", str(error))[:500]
        raise ToolError(f"The SQL cannot be read: {told}") from None
    except RecursionError:
        raise ToolError("The SQL is nested too deep.") from None
    return [_told(one) for one in parsed if one is not None]


class _Kept(threading.local):
    """The readers of a thread: of the last dialect, while nobody reads with them."""

    readers: tuple[str, Any, Any] | None = None
    until = 0.0


_KEPT = _Kept()


def _read(sql: str, dialect: str) -> list[Any]:
    """The trees of statements. What raises an error here reads nothing more.

    Raises:
        TooLateError: it takes longer than it may.
    """
    readers, _KEPT.readers = _KEPT.readers, None
    if readers is None or readers[0] != dialect:
        readers = _readers(dialect)
    _, words, trees = readers
    _KEPT.until = time.monotonic() + _LIMIT_S
    found: list[Any] = trees.parse(words.tokenize(sql), sql)
    trees.reset()  # it would hold what it has read
    _KEPT.readers = readers
    return found


def _readers(dialect: str) -> tuple[str, Any, Any]:
    """A dialect's readers, of words and of trees of them. To make both takes a tenth of a call."""
    import sqlglot

    logging.getLogger("sqlglot").setLevel(logging.ERROR)  # its warnings are of users' statements
    known = sqlglot.Dialect.get_or_raise(dialect or None)
    trees: Any = known.parser(error_level=sqlglot.ErrorLevel.RAISE)
    trees._retreat = partial(_go_back, trees._retreat)  # noqa: SLF001 - it has no other place for it
    return dialect, known.tokenizer(), trees


def _go_back(retreat: Callable[[int], None], index: int) -> None:
    """Read words again in another way, while there is time.

    Brackets and joins are tried in two ways, and what stands in them within each of both. Whatever
    makes that long comes by here.
    """
    if time.monotonic() > _KEPT.until:
        raise TooLateError
    retreat(index)


_TABLE, _COLUMN, _WITH, _WRITES, _OTHER = range(5)


@cache
def _role(node: type[Any]) -> int:
    from sqlglot import exp

    roles: tuple[tuple[Any, int], ...] = (
        (exp.Table, _TABLE),
        (exp.Column, _COLUMN),
        (exp.CTE, _WITH),
        ((exp.Insert, exp.Update, exp.Delete, exp.Merge), _WRITES),
        ((exp.Create, exp.Drop, exp.Alter, exp.TruncateTable), _WRITES),
    )
    return next((role for kinds, role in roles if issubclass(node, kinds)), _OTHER)


def _told(parsed: Any) -> dict[str, Any]:
    from sqlglot import exp

    found: list[list[Any]] = [[], [], [], []]
    nodes = _nodes(parsed, exp.Expr)
    for one in nodes:
        if (role := _role(one.__class__)) != _OTHER:
            found[role].append(one)
    tables, columns, parts, writes = found
    own = {part.alias_or_name for part in parts}
    into = [parsed.args.get("into")] if isinstance(parsed, exp.Select) else []
    kind = "unknown" if isinstance(parsed, exp.Command) else parsed.key
    told = {
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
    for one in nodes:  # which is gone then, and does not wait for a collection
        one.parent = None
    return told


def _nodes(parsed: Any, node: type) -> list[Any]:
    """A tree's nodes, level by level."""
    nodes = [parsed]
    for one in nodes:  # it grows by those below
        for part in one.args.values():
            if isinstance(part, node):
                nodes.append(part)
            elif type(part) is list:
                nodes += [below for below in part if isinstance(below, node)]
    return nodes


def _names(found: Iterable[Any]) -> list[str]:
    told = [".".join([part.name for part in one.parts]) for one in found]
    return sorted({*filter(None, told)})


TOOLS = (inspect_sql,)
