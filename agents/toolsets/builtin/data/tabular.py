"""Tables as tools take them: CSV, or a list of objects."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field

from agents.tools.calls import ToolError
from agents.toolsets.builtin.data.budget import counted
from agents.toolsets.builtin.offer import MAX_TEXT, Text
from celery_agents.contracts.base import TrustedJson

#: Of one table.
_MAX_COLUMNS, _MAX_ROWS = 200, 50_000
Records = list[dict[str, Any]]
#: A list of objects, or CSV whose first line names the columns.
Table = Annotated[list[dict[str, TrustedJson]], Field(max_length=_MAX_ROWS)] | Text


def records_of(table: Table) -> Records:
    """The rows of a table.

    Raises:
        ToolError: there are too many rows or columns, or they have no names.
    """
    if not isinstance(table, str):
        counted(table)
        found: Records = table
    else:
        found = read_csv(table)
    if not found:
        raise ToolError("The table has no rows.")
    if len(columns_of(found)) > _MAX_COLUMNS:
        raise ToolError(f"Tables have up to {_MAX_COLUMNS} columns here. Give fewer.")
    return found


def read_csv(text: str) -> Records:
    """The rows of CSV; numbers are numbers, empty cells are null.

    Raises:
        ToolError: there are too many rows or columns, or two columns of one name.
    """
    if not text.strip():
        return []
    first = text.split("\n", 1)[0]
    mark = max(",;\t|", key=first.count)
    if first.count(mark) >= _MAX_COLUMNS:
        raise ToolError(f"Tables have up to {_MAX_COLUMNS} columns here. Give fewer.")
    try:
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=mark, strict=True)
        names = [name.strip() for name in next(rows)]
        _check_names(names)
        found: Records = []
        for row in rows:
            if len(row) > len(names):
                raise ToolError(f"Line {rows.line_num} has more cells than the first one.")
            cells = [*map(_cell, row), *[None] * (len(names) - len(row))]
            if row:
                found.append(dict(zip(names, cells, strict=True)))
            if len(found) > _MAX_ROWS:
                raise ToolError(f"Tables have up to {_MAX_ROWS:,} rows here. Give a part.")
    except csv.Error as error:
        raise ToolError(f"This is no CSV: {error}.") from None
    return found


def write_csv(rows: Sequence[Any]) -> str:
    """A list of objects as CSV.

    Raises:
        ToolError: it is another value, or its cells are lists or objects.
    """
    if not all(isinstance(row, dict) for row in rows):
        raise ToolError("CSV is made of a list of objects.")
    names = columns_of([*rows])
    made = io.StringIO()
    out = csv.DictWriter(made, names, lineterminator="\n")
    out.writeheader()
    for row in rows:
        if any(isinstance(cell, list | dict) for cell in row.values()):
            raise ToolError("Cells of CSV are texts and numbers: query_json makes them flat.")
        out.writerow(row)
        if made.tell() > MAX_TEXT:
            raise ToolError("The CSV would be too long. Give fewer rows.")
    return made.getvalue()


def columns_of(records: Records) -> list[str]:
    """The columns of all rows, as they come."""
    return list(dict.fromkeys(name for row in records for name in row))


def check_columns(names: Sequence[str], records: Records) -> None:
    """Look whether columns are there.

    Raises:
        ToolError: one is not; it says which there are.
    """
    there = columns_of(records)
    if missing := [name for name in names if name not in there]:
        raise ToolError(f"There is no column {missing[0]!r}: {', '.join(there)[:500]}.")


def _check_names(names: list[str]) -> None:
    if len({*names}) < len(names) or not all(names):
        raise ToolError("The first line of CSV names each column once.")


def _cell(text: str) -> str | int | float | None:
    bare = text.strip()
    if not bare:
        return None
    if bare[0] not in "0123456789+-." or len(bare) > 40 or _has_zeros(bare):  # noqa: PLR2004
        return text
    for kind in (int, float):
        try:
            return kind(bare)
        except ValueError:
            continue
    return text


def _has_zeros(bare: str) -> bool:
    """Return whether it is a number like 007: codes and phones are kept as they are."""
    digits = bare.lstrip("-")
    return bare[0] == "+" or (len(digits) > 1 and digits[0] == "0" and digits[1].isdigit())
