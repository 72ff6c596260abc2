"""Statistics by floats, where these are exact enough, and by fractions elsewhere."""

from __future__ import annotations

import random
import statistics

import pytest

from tests.unit.agents.toolsets.builtin.support import called

CHANCE = random.Random(5)


@pytest.mark.parametrize(
    "values",
    [
        [1.0, 2.0, 4.0, 9.0],
        [0.1] * 7,
        [0.1] * 3,
        [1e15, 1e15, 1e15 + 0.125],
        [1.7e18, 1.7e18 + 256, 1.7e18 + 256],
        [1.3e154, -1.3e154, 1.3e154],
        [1e9 + n for n in range(50)],
        [1e200, 3e200, -2e200],
        [1e-300, 3e-300, -2e-300],
        [CHANCE.uniform(-1e6, 1e6) for _ in range(500)],
        [CHANCE.gauss(0, 1e-9) for _ in range(500)],
    ],
)
def test_deviations_are_those_of_the_exact_values(values: list[float]) -> None:
    found = called("maths.statistics", values=values)["standard_deviation"]
    assert found["sample"] == pytest.approx(statistics.stdev(values), rel=1e-12, abs=0)
    assert found["population"] == pytest.approx(statistics.pstdev(values), rel=1e-12, abs=0)


@pytest.mark.parametrize(
    ("expression", "low", "high", "root"),
    [
        ("x ^ 3 - x", 0.5, 2, 1.0),
        ("2 - x", 0, 9, 2.0),
        ("x", -1, 1, 0.0),
        ("cos(x)", 0, 3, 1.570796),
    ],
)
def test_roots(expression: str, low: float, high: float, root: float) -> None:
    found = called("maths.find_root", expression=expression, low=low, high=high)
    assert found["x"] == pytest.approx(root, abs=1e-6)
