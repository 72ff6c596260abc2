from __future__ import annotations

import random

import pytest

from celery_agents.client.evaluating.report import (
    EvaluatedCase,
    EvaluationReport,
    difference,
    measured,
    quantile,
)
from celery_agents.contracts.outcome import ErrorInfo
from celery_agents.errors import AgentFailedError


def case(name: str, score: float, **about: object) -> EvaluatedCase:
    told = {"id": name, "run_id": name, "scores": {"exact": score}, "latency_s": 1.0, **about}
    return EvaluatedCase.model_validate(told)


def report(*scores: float, subject: str = "a") -> EvaluationReport:
    return EvaluationReport.of(subject, [case(str(n), s) for n, s in enumerate(scores)])


def test_wilsons_interval() -> None:
    found = measured([1.0] * 8 + [0.0] * 2)
    assert (found.mean, found.low, found.high) == pytest.approx((0.8, 0.4902, 0.9433), abs=1e-4)
    all_right = measured([1.0] * 10)
    assert (all_right.mean, all_right.high) == pytest.approx((1.0, 1.0))
    assert all_right.low == pytest.approx(0.7225, abs=1e-4)


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    draw = random.Random(1)
    held = 0
    for _ in range(400):
        one = measured([float(draw.random() < 0.7) for _ in range(60)])
        held += one.low <= 0.7 <= one.high
    assert 0.92 <= held / 400 <= 0.98


def test_scores_that_are_no_bits_have_the_normal_interval() -> None:
    found = measured([0.25, 0.5, 0.75])
    assert found.mean == 0.5
    assert found.low == pytest.approx(0.5 - 1.96 * 0.25 / 3**0.5, abs=1e-3)


def test_two_versions_are_told_apart_where_they_differ() -> None:
    good, bad = report(*[1.0] * 18, 0.0, 0.0), report(*[0.0] * 10, *[1.0] * 10, subject="b")
    found = good.compared(bad)
    assert found.differences["exact"].mean == pytest.approx(0.4)
    assert bad.compared(good).differences["exact"].worse
    alike = report(1.0, 0.0, 1.0, 0.0).compared(report(0.0, 1.0, 1.0, 0.0))
    assert not alike.differences["exact"].worse
    assert not alike.differences["exact"].better


def test_differences_are_the_same_each_time() -> None:
    draw = random.Random(2)
    told = [draw.choice([-1.0, 0.0, 1.0]) for _ in range(50)]
    assert difference(told) == difference(told)


def test_no_accident_is_called_a_difference() -> None:
    draw = random.Random(3)
    found = [difference([draw.choice([-1.0, 0.0, 1.0]) for _ in range(60)]) for _ in range(100)]
    assert sum(one.worse or one.better for one in found) <= 10


def test_sums() -> None:
    failed = case("x", 0.0, error=ErrorInfo.of(AgentFailedError("no")), cost_usd=0.5, latency_s=9)
    found = EvaluationReport.of("a", [failed, case("y", 1.0, cost_usd=0.25)])
    assert (found.failed, found.cost_usd, found.latency_p95_s) == (1, 0.75, 9.0)
    assert report(1.0).cost_usd is None


@pytest.mark.parametrize(
    ("least", "told"),
    [
        ({}, []),
        ({"exact": 0.5}, []),
        ({"exact": 0.6}, ["exact is 0.500, below 0.6"]),
        ({"other": 0.1}, ["there is no metric other"]),
    ],
)
def test_what_does_not_hold(least: dict[str, float], told: list[str]) -> None:
    assert report(1.0, 0.0).misses(least) == told


def test_what_is_worse_does_not_hold() -> None:
    found = report(*[0.0] * 10).compared(report(*[1.0] * 10, subject="b"))
    assert found.misses({}) == ["exact is worse by 1.000 (1.000 to 1.000)"]


def test_quantiles() -> None:
    assert [quantile([1.0, 2.0, 3.0, 4.0], share) for share in (0, 0.5, 0.95, 1)] == [1, 3, 4, 4]
    assert quantile([], 0.5) == 0.0
