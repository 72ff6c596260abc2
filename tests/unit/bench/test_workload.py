"""The statistics of the workloads."""

from __future__ import annotations

import pytest

from bench.workload import lost, percentile


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [
        ([5.0], 0.5, 5.0),
        ([5.0], 0.99, 5.0),
        ([4.0, 1.0, 3.0, 2.0], 0.5, 2.0),
        (list(range(1, 101)), 0.5, 50),
        (list(range(1, 101)), 0.99, 99),
        (list(range(1, 301)), 0.99, 297),
    ],
)
def test_percentiles_are_values_that_were_measured(
    values: list[float], share: float, expected: float
) -> None:
    assert percentile(values, share) == expected


@pytest.mark.parametrize(
    ("got", "expected", "count"),
    [
        ([1, 2, 3], [1, 2, 3], 0),
        ([1, None, 3], [1, 2, 3], 1),
        ([1], [1, 2, 3], 2),
        ([], [1, 2, 3], 3),
        ([3, 2, 1], [1, 2, 3], 2),
    ],
)
def test_what_is_missing_or_wrong_is_lost(got: list[int], expected: list[int], count: int) -> None:
    assert lost(got, expected) == count
