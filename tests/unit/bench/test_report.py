"""The table and the lines of JSON."""

from __future__ import annotations

import json

import pytest

from bench.report import best, machine, table
from tests.unit.bench.rows import losing, row


def test_the_median_is_of_all_rounds() -> None:
    assert row("noop", "saq", [900.0, 100.0, 500.0], steps=10).headline == 500.0


def test_a_failed_round_leaves_no_median_and_is_told() -> None:
    failed = row("noop", "saq", [900.0, None, 500.0], steps=10)
    assert failed.headline is None
    assert "failed" in table([failed])
    assert "saq FAILED: the client died" in table([failed])


def test_lost_steps_stand_in_the_table() -> None:
    assert "LOST 3" in table([losing(row("noop", "saq", [900.0, 800.0], steps=10))])


def test_what_lost_something_is_not_the_best() -> None:
    slow, fast = (row("noop", "celery-threads", [n], steps=10) for n in (300.0, 900.0))
    losing(fast)
    assert best([slow, fast]) is slow
    assert best([fast]) is None
    ours = row("noop", "ours-sqlite", [600.0], steps=10)
    assert table([ours, slow, fast]).splitlines()[2].split()[3] == "2.00"


def test_ratios_are_to_bare_celerys_best_figure_for_the_same_work() -> None:
    rows = [
        row("noop", "ours-sqlite", [900.0], steps=10),
        row("noop", "celery-threads", [300.0], steps=10),
        row("noop", "celery-prefork", [600.0], steps=10),
        row("noop", "celery-prefork", [1.0], steps=5),
    ]
    ratios = [line.split()[3] for line in table(rows).splitlines()[2:]]
    assert ratios == ["1.50", "0.50", "1.00", "1.00"]


def test_concurrency_is_how_and_not_what() -> None:
    rows = [
        row("waiting", "ours-sqlite", [1000.0], steps=10, concurrency=500),
        row("waiting", "celery-threads", [200.0], steps=10, concurrency=100),
        row("waiting", "celery-threads", [400.0], steps=10, concurrency=200),
    ]
    assert table(rows).splitlines()[2].split()[4] == "2.50"


def test_enqueueing_is_compared_with_celerys_better_way() -> None:
    rows = [
        row("enqueue", "ours-sqlite", [10_000.0], messages=10, way="ask.many"),
        row("enqueue", "celery-threads", [2_000.0], messages=10, way="delay"),
        row("enqueue", "celery-threads", [5_000.0], messages=10, way="group"),
    ]
    assert table(rows).splitlines()[2].split()[4] == "2.00"


@pytest.mark.parametrize(("workload", "expected"), [("noop", 3.0), ("roundtrip", 1.0)])
def test_best_is_most_or_least(workload: str, expected: float) -> None:
    rows = [row(workload, "saq", [figure], steps=1) for figure in (2.0, 3.0, 1.0, None)]
    found = best(rows)
    assert found is not None
    assert found.headline == expected
    assert best([row(workload, "saq", [None], steps=1)]) is None


def test_a_line_of_json_has_every_rounds_figures() -> None:
    told = json.loads(row("noop", "saq", [900.0, 100.0, None], steps=10).as_json())
    assert [r["figures"].get("steps_per_s") for r in told["rounds"]] == [900.0, 100.0, None]
    assert told["rounds"][0]["worker"] == {"cpu_s": 1.0, "peak_mb": 100.0}
    assert told["machine"]["cores"] == machine()["cores"]
    assert {"workload", "contestant", "case", "settings", "median", "unit"} <= set(told)
