"""Rows as a Parquet file, by pyarrow, which is imported when one is written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from celery_agents.errors import ConfigurationError

#: A row group ends at so many rows, or at so many characters of values, so memory is bounded.
GROUP_ROWS_MAX = 10_000
GROUP_CHARS_MAX = 16_000_000

_KINDS = {"index": "int64", "attempts": "int64", "cost_usd": "float64", "duration_s": "float64"}


def write_parquet(path: Path, columns: Iterable[str], rows: Iterable[dict[str, Any]]) -> int:
    """Write rows, group by group; return how many.

    Raises:
        ConfigurationError: pyarrow is missing.
    """
    try:
        import pyarrow as pa
        from pyarrow.parquet import ParquetWriter
    except ImportError as error:
        text = "Parquet is written by pyarrow: pip install 'celery-agents[parquet]'"
        raise ConfigurationError(text) from error
    kinds = [(name, pa.type_for_alias(_KINDS.get(name, "string"))) for name in columns]
    schema = pa.schema(kinds)
    count = 0
    with ParquetWriter(path, schema, compression="zstd") as writer:
        for group in _groups(rows):
            writer.write_batch(pa.RecordBatch.from_pylist(group, schema=schema))
            count += len(group)
    return count


def _groups(rows: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    group: list[dict[str, Any]] = []
    chars = 0
    for row in rows:
        group.append(row)
        chars += len(row["value"] or "")
        if len(group) >= GROUP_ROWS_MAX or chars >= GROUP_CHARS_MAX:
            yield group
            group, chars = [], 0
    if group:
        yield group
