"""The ratios that are wanted."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from bench.goals import Goal, goals
from bench.report import Row
from tests.unit.bench.rows import losing, row


def ratios(rows: Sequence[Row]) -> list[Goal]:
    return [goal for goal in goals(rows) if "lost" not in goal.what]


@pytest.mark.parametrize(
    ("measured", "at_least", "reached"),
    [(1.5, True, True), (1.49, True, False), (1.5, False, True), (1.51, False, False)],
)
def test_a_goal_is_reached_at_its_bound(measured: float, at_least: bool, reached: bool) -> None:
    goal = Goal("what", measured, 1.5, at_least)
    assert goal.reached == reached
    assert ("NOT REACHED" in str(goal)) != reached


def test_no_goal_without_both_sides() -> None:
    assert ratios([row("noop", "ours-sqlite", [900.0], steps=10)]) == []
    assert ratios([row("noop", "celery-threads", [900.0], steps=10)]) == []
    failed = row("noop", "celery-threads", [None], steps=10)
    assert ratios([row("noop", "ours-sqlite", [900.0], steps=10), failed]) == []


def test_no_op_steps_against_celery_the_durable_and_the_others() -> None:
    found = ratios(
        [
            row("noop", "ours-sqlite", [900.0], steps=10),
            row("noop", "celery-threads", [300.0], steps=10),
            row("noop", "celery-prefork", [450.0], steps=10),
            row("noop", "dramatiq", [1800.0], steps=10),
            row("noop", "dbos-postgres", [600.0], steps=10),
            row("noop", "langgraph-sqlite", [9000.0], steps=10),  # goes through no queue
        ]
    )
    assert [goal.measured for goal in found] == [2.0, 1.5, 0.5]
    assert all(goal.reached for goal in found)


def test_what_lost_something_is_compared_with_nothing() -> None:
    ours, celery = (row("noop", name, [900.0], steps=10) for name in ("ours-sqlite", "saq"))
    assert [goal.measured for goal in ratios([ours, celery])] == [1.0]
    losing(celery)
    assert ratios([ours, celery]) == []
    losing(ours)
    [lost] = goals([ours, celery, row("noop", "ours-sqlite", [800.0], steps=10)])
    assert (lost.what, lost.measured, lost.reached) == (
        "ours-sqlite: results lost, in all",
        3.0,
        False,
    )


def test_messages_are_compared_with_celerys_better_way() -> None:
    found = ratios(
        [
            row("enqueue", "ours-sqlite", [1_000.0], messages=10, way="ask"),
            row("enqueue", "ours-sqlite", [10_000.0], messages=10, way="ask.many"),
            row("enqueue", "celery-threads", [1_000.0], messages=10, way="delay"),
            row("enqueue", "celery-threads", [2_500.0], messages=10, way="group"),
        ]
    )
    assert [(goal.measured, goal.reached) for goal in found] == [(4.0, False)]


def test_less_time_is_better_where_time_is_measured() -> None:
    found = ratios(
        [
            row("fanout", "ours-sqlite", [1.0], members=1_000, way="map"),
            row("fanout", "ours-sqlite", [2.0], members=1_000, way="chord"),
            row("fanout", "ours-sqlite", [15.0], members=10_000, way="chord"),
            row("fanout", "celery-threads", [4.0], members=1_000, way="chord"),
            row("fanout", "celery-threads", [30.0], members=10_000, way="chord"),
        ]
    )
    assert [(goal.measured, goal.reached) for goal in found] == [
        (4.0, True),
        (2.0, False),
        (1.5, False),
    ]


def test_each_of_ours_has_its_own() -> None:
    found = ratios(
        [
            row("growth", name, [figure], rows=rows)
            for name, full in (("ours-sqlite", 950.0), ("ours-postgres", 500.0))
            for rows, figure in ((0, 1000.0), (1_000_000, full))
        ]
    )
    assert [(goal.what.split(":")[0], goal.reached) for goal in found] == [
        ("ours-sqlite", True),
        ("ours-postgres", False),
    ]


def test_waiting_is_judged_at_its_best_and_at_a_hundred_slots() -> None:
    found = ratios(
        [
            row("waiting", "ours-sqlite", [400.0], steps=10, concurrency=100),
            row("waiting", "ours-sqlite", [1200.0], steps=10, concurrency=1000),
            row("waiting", "celery-threads", [400.0], steps=10, concurrency=200),
            row("waiting", "saq", [1500.0], steps=10, concurrency=500),
        ]
    )
    measured = {goal.what.removeprefix("ours-sqlite: "): goal.measured for goal in found}
    assert measured["waiting steps, over bare Celery's best pool"] == 3.0
    assert measured["over saq and taskiq"] == 0.8
    assert measured["waiting with 100 slots, over the ideal 500/s"] == 0.8
    assert measured["MB of the worker, waiting"] == 100.0
