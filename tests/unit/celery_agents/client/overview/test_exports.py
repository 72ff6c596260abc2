from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from celery_agents.client.overview.exports import COLUMNS, export
from celery_agents.contracts.outcome import ErrorInfo, Outcome, State, Usage
from celery_agents.errors import InvalidPayloadError

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


@pytest.mark.parametrize("name", ["failed.csv", "failed.jsonl"])
def test_failures_alone(tmp_path: Path, name: str) -> None:
    assert export(OUTCOMES, tmp_path / name, failed=True) == 1
    assert "timeout" in (tmp_path / name).read_text(encoding="utf-8")


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
    with pytest.raises(InvalidPayloadError, match=r"\.csv or \.jsonl"):
        export(OUTCOMES, tmp_path / "all.xlsx")
    assert not [*tmp_path.iterdir()]
