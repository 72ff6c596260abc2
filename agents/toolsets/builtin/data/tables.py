"""Tools of tables: lists of objects, or CSV."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from statistics import fmean
from typing import Annotated, Any, Literal

from pydantic import Field

from agents.tools.base import CallContext
from agents.tools.calls import ToolError
from agents.toolsets.builtin.data.tabular import (
    Records,
    Table,
    check_columns,
    columns_of,
    records_of,
)
from agents.toolsets.builtin.offer import Short, offer

#: Rows that are each compared with each; characters of them that are.
_MAX_PAIRS, _COMPARED = 1_000_000, 200
_SHOWN = 3
#: Above it there is no mean.
_HUGE = 1e300
Columns = Annotated[list[Short], Field(min_length=1, max_length=20)]


@offer({"table": "name,age\nAnn,31\nBen,\nCy,29\n"})
def describe_table(table: Table) -> dict[str, Any]:
    """Describes a table: rows, and of each column types, nulls, different values and range."""
    records = records_of(table)
    return {
        "rows": len(records),
        "columns": {name: _column(name, records) for name in columns_of(records)},
    }


@offer(
    {
        "left": [{"name": "Jon Smith"}, {"name": "Ann"}],
        "right": [{"person": "John Smith", "id": 7}],
        "left_column": "name",
        "right_column": "person",
        "least_score": 80,
    },
    "rapidfuzz",
)
def match_records(
    left: Table,
    right: Table,
    left_column: Short,
    right_column: Short,
    least_score: Annotated[float, Field(ge=0, le=100)] = 100,
) -> dict[str, Any]:
    """Joins two tables by a column: exactly, or the most similar of a least score below 100."""
    ours, theirs = records_of(left), records_of(right)
    check_columns([left_column], ours)
    check_columns([right_column], theirs)
    pairs = _fuzzy if least_score < 100 else _exact  # noqa: PLR2004 - all of it
    matched, alone = [], []
    for row, found in pairs(
        ours, [_text(row.get(right_column)) for row in theirs], left_column, least_score
    ):
        if not found:
            alone.append(row)
        matched += [{"left": row, "right": theirs[n], "score": round(s, 1)} for n, s in found]
        if len(matched) > _MAX_PAIRS // 10:
            raise ToolError("There are too many pairs. Match by a column with different values.")
    return {"matched": matched, "unmatched": alone}


@offer({"table": "mail,plan\na@x,free\nb@x,pro\na@x,pro\n", "columns": ["mail"], "keep": "last"})
def dedupe_records(
    table: Table,
    columns: Columns | None = None,
    keep: Literal["first", "last", "fullest"] = "first",
    ignore_case: bool = False,
) -> dict[str, Any]:
    """Keeps one row of those that are the same in some columns, or in all; says how many went."""
    records = records_of(table)
    names = columns or columns_of(records)
    check_columns(names, records)
    kept: dict[tuple[str, ...], dict[str, Any]] = {}
    for row in records:
        key = tuple(_key(row.get(name), fold=ignore_case) for name in names)
        if key not in kept or keep == "last" or (keep == "fullest" and _full(row, kept[key])):
            kept[key] = row
    return {"rows": list(kept.values()), "removed": len(records) - len(kept)}


@offer({"table": "n,kind\n1,a\n2,a\n3,b\n4,b\n", "count": 1, "by": "kind"})
def sample_records(
    table: Table,
    count: Annotated[int, Field(ge=1, le=1_000)],
    by: Short | None = None,
    *,
    call: CallContext,
) -> list[dict[str, Any]]:
    """Draws rows by chance, by: so many of each value of that column; a retry draws the same."""
    records = records_of(table)
    drawn = random.Random(call.key)  # noqa: S311 - no secret; the same in each attempt
    groups: dict[str, list[int]] = {}
    if by is not None:
        check_columns([by], records)
    for number, row in enumerate(records):
        groups.setdefault("" if by is None else _text(row.get(by)), []).append(number)
    if len(groups) * count > _MAX_PAIRS // 100:
        raise ToolError("The sample would be too big. Draw fewer, or by another column.")
    chosen = [n for those in groups.values() for n in drawn.sample(those, min(count, len(those)))]
    return [records[n] for n in sorted(chosen)]


def _column(name: str, records: Records) -> dict[str, Any]:
    values = [row[name] for row in records if row.get(name) is not None]
    told: dict[str, Any] = {
        "types": sorted({_kind(value) for value in values}),
        "nulls": len(records) - len(values),
        "different": len({_text(value) for value in values}),
    }
    numbers = [v for v in values if _kind(v) in {"integer", "number"} and abs(v) < _HUGE]
    if numbers:
        told |= {"least": min(numbers), "most": max(numbers), "mean": fmean(numbers)}
    texts = [value for value in values if isinstance(value, str)]
    if texts:
        told["examples"] = [text[:80] for text in dict.fromkeys(texts)][:_SHOWN]
        told["longest"] = max(map(len, texts))
    return told


def _kind(value: Any) -> str:
    names = {bool: "boolean", int: "integer", float: "number", str: "text", list: "list"}
    return names.get(type(value), "object")


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def _key(value: Any, *, fold: bool) -> str:
    text = _text(value).strip()
    return text.casefold() if fold else text


def _full(row: dict[str, Any], kept: dict[str, Any]) -> bool:
    """Return whether a row has more values than the one that is kept."""
    return sum(v is not None for v in row.values()) > sum(v is not None for v in kept.values())


_Pairs = Iterator[tuple[dict[str, Any], list[tuple[int, float]]]]


def _exact(rows: Records, others: list[str], column: str, _least: float) -> _Pairs:
    places: dict[str, list[int]] = {}
    for number, text in enumerate(others):
        places.setdefault(text, []).append(number)
    for row in rows:
        yield row, [(number, 100.0) for number in places.get(_text(row.get(column)), ())]


def _fuzzy(rows: Records, others: list[str], column: str, least: float) -> _Pairs:
    from rapidfuzz import fuzz, process

    if len(rows) * len(others) > _MAX_PAIRS:
        raise ToolError(f"Up to {_MAX_PAIRS:,} pairs are compared. Give fewer rows.")
    cut = [text[:_COMPARED].casefold() for text in others]
    for row in rows:
        own = _text(row.get(column))[:_COMPARED].casefold()
        best = process.extractOne(own, cut, scorer=fuzz.ratio, score_cutoff=least)
        yield row, [] if best is None else [(best[2], best[1])]


TOOLS = (describe_table, match_records, dedupe_records, sample_records)
