from __future__ import annotations

import json
import math
import random
import statistics
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.policies.sketch import LEAST_S, MOST_S, Summary, read_buckets
from tests.support.drawn import costly

DURATIONS = st.lists(st.floats(LEAST_S, MOST_S), min_size=1, max_size=200)


def exact(values: list[float], share: float) -> float:
    return sorted(values)[max(math.ceil(share * len(values)), 1) - 1]


@given(DURATIONS, st.floats(0, 1))
def test_no_percentile_is_more_than_two_percent_off(values: list[float], share: float) -> None:
    assert Summary.of(values).quantile_s(share) == pytest.approx(exact(values, share), rel=0.02)


@given(DURATIONS, DURATIONS)
def test_two_add_up_to_that_of_all(one: list[float], other: list[float]) -> None:
    added = Summary.of(one)
    added.add(Summary.of(other))
    whole = Summary.of([*one, *other])
    assert added.buckets == whole.buckets
    assert (added.count, added.min_s, added.max_s) == (whole.count, whole.min_s, whole.max_s)
    assert added.mean_s == pytest.approx(whole.mean_s)


@pytest.mark.parametrize("name", ["lognormal", "bimodal", "constant"])
def test_many_durations(name: str) -> None:
    draw = random.Random(7)
    values: Callable[[], float] = {
        "lognormal": lambda: draw.lognormvariate(0, 1.5),
        "bimodal": lambda: draw.gauss(0.2, 0.01) if draw.random() < 0.9 else draw.gauss(30, 5),
        "constant": lambda: 1.25,
    }[name]
    durations = [max(values(), LEAST_S) for _ in range(costly(100_000))]
    found = Summary.of(durations)
    for share in (0.5, 0.9, 0.95, 0.99, 0.999):
        assert found.quantile_s(share) == pytest.approx(exact(durations, share), rel=0.02)
    assert found.mean_s == pytest.approx(statistics.fmean(durations))
    assert found.deviation_s == pytest.approx(statistics.pstdev(durations), abs=1e-6)
    assert len(json.dumps(found.stored())) < 8_000


def test_no_values_have_no_percentiles() -> None:
    assert (Summary().quantile_s(0.5), Summary().mean_s, Summary().deviation_s) == (None,) * 3


@pytest.mark.parametrize(("value", "counted"), [(-1.0, LEAST_S), (0.0, LEAST_S), (1e12, MOST_S)])
def test_what_is_no_duration_counts_as_the_nearest(value: float, counted: float) -> None:
    assert Summary.of([value]).quantile_s(0.5) == counted


@given(DURATIONS)
def test_buckets_are_read_as_they_were_stored(values: list[float]) -> None:
    found = Summary.of(values)
    assert read_buckets(json.loads(json.dumps(found.stored()))) == found.buckets
