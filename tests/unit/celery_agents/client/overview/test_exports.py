from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyarrow import parquet

from celery_agents.client.overview import parquet as writing
from celery_agents.client.overview.exports import COLUMNS, export
from celery_agents.contracts.outcome import ErrorInfo, Outcome, State, Usage
from celery_agents.errors import ConfigurationError, InvalidPayloadError

DONE = Outcome(state=State.SUCCEEDED, value='an "ü"\nof two, lines', usage=Usage(cost_usd=0.5))
OBJECT = Outcome(state=State.SUCCEEDED, value={"a": [1, None]}, attempts=2, duration_s=1.5)
FAILED = Outcome(state=State.FAILED, error=ErrorInfo(kind="timeout", message="late"))
OUTCOMES = [(0, DONE), (2, OBJECT), (3, FAILED)]


def test_lines_of_json(tmp_path: Path) -> None:
    path = tmp_path / "all.jsonl"
    assert export(OUTCOMES, path) == 3
    first, second, third = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    assert tuple(first) == COLUMNS
    assert (first["index"], first["value"], first["cost_usd"]) == (0, DONE.value, 0.5)
    assert (second["value"], second["attempts"], second["duration_s"]) == (OBJECT.value, 2, 1.5)
    assert (third["state"], third["error"], third["message"]) == ("failed", "timeout", "late")


def test_csv(tmp_path: Path) -> None:
    path = tmp_path / "all.CSV"
    assert export(OUTCOMES, path) == 3
    with path.open(encoding="utf-8", newline="") as file:
        first, second, third = csv.DictReader(file)
    assert (first["value"], first["error"]) == (DONE.value, "")
    assert json.loads(second["value"]) == OBJECT.value
    assert (third["index"], third["value"], third["error"]) == ("3", "", "timeout")


def test_parquet(tmp_path: Path) -> None:
    path = tmp_path / "all.parquet"
    assert export(OUTCOMES, path) == 3
    table = parquet.read_table(path)
    assert tuple(table.column_names) == COLUMNS
    first, second, third = table.to_pylist()
    assert (first["index"], first["value"], first["cost_usd"]) == (0, DONE.value, 0.5)
    assert json.loads(second["value"]) == OBJECT.value
    assert (second["attempts"], second["duration_s"]) == (2, 1.5)
    assert (third["value"], third["error"], third["message"]) == (None, "timeout", "late")


@pytest.mark.parametrize(
    ("limit", "most", "groups"),
    [("GROUP_ROWS_MAX", 2, [2, 2, 1]), ("GROUP_CHARS_MAX", 30, [3, 2]), (None, 0, [5])],
)
def test_parquet_is_written_in_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str | None, most: int, groups: list[int]
) -> None:
    if limit is not None:
        monkeypatch.setattr(writing, limit, most)
    texts = [Outcome(state=State.SUCCEEDED, value="ten chars.")] * 5
    assert export(enumerate(texts), tmp_path / "a.parquet") == 5
    told = parquet.ParquetFile(tmp_path / "a.parquet").metadata
    assert [told.row_group(n).num_rows for n in range(told.num_row_groups)] == groups


def test_no_outcomes_are_a_file_of_columns(tmp_path: Path) -> None:
    assert export([], tmp_path / "none.parquet") == 0
    assert tuple(parquet.read_table(tmp_path / "none.parquet").column_names) == COLUMNS


def test_parquet_without_its_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConfigurationError, match=r"celery-agents\[parquet\]"):
        export(OUTCOMES, tmp_path / "all.parquet")
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("name", ["failed.csv", "failed.jsonl", "failed.parquet"])
def test_failures_alone(tmp_path: Path, name: str) -> None:
    assert export(OUTCOMES, tmp_path / name, failed=True) == 1
    assert b"timeout" in (tmp_path / name).read_bytes()


def test_half_a_file_is_none(tmp_path: Path) -> None:
    path = tmp_path / "all.csv"
    path.write_text("of before", encoding="utf-8")

    def broken() -> Iterator[tuple[int, Outcome]]:
        yield OUTCOMES[0]
        raise TimeoutError

    with pytest.raises(TimeoutError):
        export(broken(), path)
    assert path.read_text(encoding="utf-8") == "of before"
    assert [*tmp_path.iterdir()] == [path]


def test_another_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidPayloadError, match=r"\.csv, \.jsonl or \.parquet"):
        export(OUTCOMES, tmp_path / "all.xlsx")
    assert not [*tmp_path.iterdir()]
