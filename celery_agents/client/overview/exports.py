"""Outcomes of a map as files: a row of CSV, JSON lines or Parquet for each input that has ended."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from celery_agents.client.overview.parquet import write_parquet
from celery_agents.contracts.outcome import Outcome
from celery_agents.errors import InvalidPayloadError

#: The columns of CSV and Parquet, and the keys of a line of JSON.
COLUMNS = (
    *("index", "state", "value", "error", "message", "attempts", "cost_usd", "duration_s"),
    "agent",
)


def export(
    outcomes: Iterable[tuple[int, Outcome]], path: str | os.PathLike[str], *, failed: bool = False
) -> int:
    """Write outcomes to a file by its suffix: ``.csv``, ``.jsonl`` or ``.parquet``.

    Returns how many. Row by row, under another name until all are there. ``failed``: only those
    that did not succeed. In CSV and Parquet a value that is no text is JSON.

    Raises:
        InvalidPayloadError: the suffix is another one.
        ConfigurationError: Parquet's library, the extra ``parquet``, is missing.
    """
    target = Path(path)
    write = _WRITERS.get(target.suffix.lower())
    if write is None:
        raise InvalidPayloadError(f"{target.name}: its name ends with .csv, .jsonl or .parquet.")
    part = target.with_name(target.name + ".part")
    try:
        count = write(part, _rows(outcomes, failed=failed))
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    return count


def _rows(outcomes: Iterable[tuple[int, Outcome]], *, failed: bool) -> Iterator[dict[str, Any]]:
    for index, outcome in outcomes:
        if failed and outcome.ok:
            continue
        error = outcome.error
        told = (
            *(index, outcome.state.value, outcome.value),
            *((None, None) if error is None else (error.kind, error.message)),
            *(outcome.attempts, outcome.usage.cost_usd, outcome.duration_s, outcome.agent),
        )
        yield dict(zip(COLUMNS, told, strict=True))


def _flat(rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Rows for columns of one type each."""
    for row in rows:
        value = row["value"]
        yield {**row, "value": value if value is None or isinstance(value, str) else _json(value)}


def _as_csv(path: Path, rows: Iterable[dict[str, Any]]) -> int:
    count = 0
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        for row in _flat(rows):
            writer.writerow(row)
            count += 1
    return count


def _as_lines(path: Path, rows: Iterable[dict[str, Any]]) -> int:
    count = 0
    with path.open("w", encoding="utf-8", newline="") as file:
        for row in rows:
            file.write(_json(row) + "\n")
            count += 1
    return count


def _as_parquet(path: Path, rows: Iterable[dict[str, Any]]) -> int:
    return write_parquet(path, COLUMNS, _flat(rows))


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


_WRITERS: dict[str, Callable[[Path, Iterable[dict[str, Any]]], int]] = {
    ".csv": _as_csv,
    ".jsonl": _as_lines,
    ".parquet": _as_parquet,
}
