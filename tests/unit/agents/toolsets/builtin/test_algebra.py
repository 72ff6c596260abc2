"""Exact algebra, held against what it has to be by definition."""

from __future__ import annotations

import random
from fractions import Fraction
from itertools import permutations
from math import prod
from typing import Any

import pytest

from tests.unit.agents.toolsets.builtin.support import called

CHANCE = random.Random(21)
Rows = list[list[Fraction]]


def drawn(size: int, width: int | None = None) -> Rows:
    def entry() -> Fraction:
        return Fraction(CHANCE.randint(-9, 9), CHANCE.choice([1, 1, 2, 3, 7]))

    return [[entry() for _ in range(width or size)] for _ in range(size)]


def told(rows: Rows) -> list[list[str]]:
    return [[str(entry) for entry in row] for row in rows]


def determinant(rows: Rows) -> Fraction:
    """By Leibniz's formula."""
    found = Fraction(0)
    for order in permutations(range(len(rows))):
        swaps = sum(a > b for n, a in enumerate(order) for b in order[n + 1 :])
        found += (-1) ** swaps * prod((rows[n][m] for n, m in enumerate(order)), start=Fraction(1))
    return found


def near(text: str, wanted: Fraction) -> bool:
    return abs(Fraction(text) - wanted) <= abs(wanted) / 10**12


@pytest.mark.parametrize("size", [1, 2, 3, 4] * 8)
def test_determinant_and_inverse(size: int) -> None:
    rows = drawn(size)
    wanted = determinant(rows)
    assert near(called("maths.matrix", action="determinant", rows=told(rows)), wanted)
    if wanted == 0:
        return
    inverse = called("maths.matrix", action="inverse", rows=told(rows))
    for n in range(size):
        for m in range(size):
            parts = (rows[n][k] * Fraction(inverse[k][m]) for k in range(size))
            assert abs(float(sum(parts)) - (n == m)) < 1e-9


@pytest.mark.parametrize("size", [1, 2, 3, 5] * 8)
def test_equations_have_the_solution_that_made_them(size: int) -> None:
    rows = drawn(size)
    wanted = [Fraction(CHANCE.randint(-9, 9)) for _ in range(size)]
    right = [
        str(sum((a * x for a, x in zip(row, wanted, strict=True)), Fraction(0))) for row in rows
    ]
    found: Any = called("maths.solve_linear", equations=told(rows), right=right)
    if found["solutions"] == "one":
        assert [Fraction(x) for x in found["x"]] == wanted
    else:
        assert determinant(rows) == 0


def test_rank_of_rows_that_follow_from_others() -> None:
    first, second = drawn(2, 4)
    both = [a + 2 * b for a, b in zip(first, second, strict=True)]
    rows = told([first, both, second, [2 * entry for entry in first]])
    assert called("maths.matrix", action="rank", rows=rows) == 2
    assert called("maths.matrix", action="rank", rows=[[0, 0], [0, 0]]) == 0
    assert called("maths.matrix", action="rank", rows=[[0, 0, 3], [0, 2, 1]]) == 2
