from __future__ import annotations

import random

import pytest

from celery_agents.client.evaluating.report import (
    EvaluatedCase,
    EvaluationReport,
    _t,
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


def test_scores_that_are_no_bits_have_students_interval() -> None:
    found = measured([0.25, 0.5, 0.75])
    assert found.mean == 0.5
    assert found.low == pytest.approx(0.5 - 4.3027 * 0.25 / 3**0.5, abs=1e-3)
    alone = measured([0.25])
    assert (alone.mean, alone.low, alone.high) == (0.25, 0.0, 1.0)


@pytest.mark.parametrize(
    ("freedom", "quantile"),
    [(1, 12.7062), (2, 4.3027), (3, 3.1824), (4, 2.7764), (5, 2.5706), (9, 2.2622), (99, 1.9842)],
)
def test_quantiles_are_those_of_the_tables(freedom: int, quantile: float) -> None:
    assert _t(freedom) == pytest.approx(quantile, abs=5e-3)


def test_two_versions_are_told_apart_where_they_differ() -> None:
    good, bad = report(*[1.0] * 18, 0.0, 0.0), report(*[0.0] * 10, *[1.0] * 10, subject="b")
    found = good.compared(bad)
    assert found.differences["exact"].mean == pytest.approx(0.4)
    assert bad.compared(good).differences["exact"].worse
    alike = report(1.0, 0.0, 1.0, 0.0).compared(report(0.0, 1.0, 1.0, 0.0))
    assert not alike.differences["exact"].worse
    assert not alike.differences["exact"].better


@pytest.mark.parametrize(
    ("above", "below", "alike", "p_value", "verdict"),
    [
        (1, 0, 0, 1.0, False),  # one example says nothing
        (4, 0, 16, 0.125, False),
        (5, 0, 0, 0.0625, False),
        (6, 0, 14, 0.03125, True),
        (10, 0, 10, 0.001953, True),
        (9, 1, 10, 0.021484, True),
        (8, 2, 10, 0.109375, False),
        (5, 5, 10, 1.0, False),
        (0, 0, 20, 1.0, False),
    ],
)
def test_a_verdict_needs_the_exact_sign_test(
    above: int, below: int, alike: int, p_value: float, verdict: bool
) -> None:
    told = [1.0] * above + [-1.0] * below + [0.0] * alike
    found, turned = difference(told), difference([-one for one in told])
    assert found.p_value == pytest.approx(p_value, abs=1e-6)
    assert (found.better, found.worse) == (verdict, False)
    assert (turned.better, turned.worse) == (False, verdict)
    assert -1 <= found.low <= found.mean <= found.high <= 1
    assert found.low < found.high
    assert (found.low > 0) == verdict


def test_the_interval_of_those_that_differ() -> None:
    """Clopper's and Pearson's of 8 of 10 is 0.4439 to 0.9748."""
    found = difference([1.0] * 8 + [-1.0] * 2 + [0.0] * 10)
    ends = ((2 * 0.4439 - 1) / 2, (2 * 0.9748 - 1) / 2)
    assert (found.low, found.high) == pytest.approx(ends, abs=1e-4)


@pytest.mark.parametrize(
    ("told", "better"),
    [
        ([0.5], False),
        ([0.5] * 4 + [0.0] * 16, False),  # four that differ are too few
        ([0.25, 0.5] * 5 + [0.0] * 10, True),
        ([0.5, -0.4] * 10, False),
    ],
)
def test_a_verdict_on_scores_that_are_no_bits(told: list[float], better: bool) -> None:
    found, turned = difference(told), difference([-one for one in told])
    assert (found.better, found.worse, turned.worse) == (better, False, better)
    assert found.p_value is None
    assert found.low <= found.mean <= found.high


def test_no_accident_is_called_a_difference() -> None:
    draw = random.Random(3)
    for scores in ([-1.0, 0.0, 1.0], [-0.5, 0.0, 0.5]):
        for count in (3, 8, 60):
            made = [difference([draw.choice(scores) for _ in range(count)]) for _ in range(200)]
            assert sum(one.worse or one.better for one in made) <= 18  # of 10 that may be


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
    assert found.misses({}) == ["exact is worse by 1.000 (0.383 to 1.000)"]


def test_quantiles() -> None:
    assert [quantile([1.0, 2.0, 3.0, 4.0], share) for share in (0, 0.5, 0.95, 1)] == [1, 3, 4, 4]
    assert quantile([], 0.5) == 0.0
