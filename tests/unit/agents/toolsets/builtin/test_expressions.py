"""Numbers as they are read and written."""

from __future__ import annotations

import random
import re
from fractions import Fraction
from typing import Any

import pytest

from agents.tools.calls import ToolError
from agents.toolsets.builtin.expressions import Expression, shown, value_of


def test_a_number_whose_digits_end_is_written_whole() -> None:
    chance = random.Random(7)
    for _ in range(2_000):
        below = 2 ** chance.randrange(40) * 5 ** chance.randrange(20)
        value = Fraction(chance.randint(-(10**20), 10**20), below)
        text = shown(value)
        assert Fraction(text) == value
        assert "." not in text or not text.endswith("0")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Fraction(-1, 8), "-0.125"),
        (Fraction(1, 1_000), "0.001"),
        (Fraction(-21, 2), "-10.5"),
        (Fraction(5), "5"),
        (Fraction(1, 3), "0.333333333333333"),
    ],
)
def test_shown(value: Fraction, text: str) -> None:
    assert shown(value) == text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1_000 + .5e1", Fraction(1_005)),
        ("2.50 *\t4", Fraction(10)),
        ("(1 +\n 2) * 3", Fraction(9)),
        ("1e3 - 1E-3", Fraction(999_999, 1_000)),
        ("-2 ^ 2", Fraction(-4)),
    ],
)
def test_numbers_are_read_as_they_are_written(text: str, value: Fraction) -> None:
    assert value_of(text) == value


@pytest.mark.parametrize("text", ["1 + 2j", "0x10", "'ä' + 1", "ä + 1", "1 if 2 else 3"])
def test_what_is_no_number_is_quoted(text: str) -> None:
    with pytest.raises(ToolError, match=r"known|no number"):
        value_of(text)


def test_many_values_of_a_name() -> None:
    with Expression("x ^ 2 - 2", exact=False).evaluating("x") as at:
        assert [at(x) for x in (0.0, 1.0, 2.0)] == [-2.0, -1.0, 2.0]
    with (
        pytest.raises(ToolError, match="zero"),
        Expression("1 / x", exact=False).evaluating("x") as at,
    ):
        at(0.0)


@pytest.mark.parametrize(
    "text",
    [
        *("x ^ 2 - 2", "-x", "x", "3", "pi * x", "sqrt(x)", "ln(x)", "1 / x", "x // 2 + x % 3"),
        *(
            "x ^ 0.5",
            "(-x) ^ 0.5",
            "exp(x)",
            "floor(x) / 3",
            "round(x, 1)",
            "min(x, 1)",
            "sum(x, 1)",
        ),
        *("log(x, 2)", "hypot(x, 3, 4)", "1e308 * x", "y + x", "sin()", "factorial(x)", "abs(-x)"),
    ],
)
@pytest.mark.parametrize("values", [[0.5, 1.0, 2.0], [-3.0, 0.0, 4.0], [9.0, 1e200]])
def test_a_column_of_values_is_what_each_alone_is(text: str, values: list[float]) -> None:
    expression = Expression(text, exact=False)

    def alone() -> list[float]:
        with expression.evaluating("x") as at:
            return [at(value) for value in values]

    try:
        wanted: Any = alone()
    except ToolError as error:
        with pytest.raises(ToolError, match=re.escape(str(error))):
            expression.column("x", values)
    else:
        assert expression.column("x", values) == wanted


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("7 / 2 * 2", 7), ("6 / 3", 2), ("2 ^ -2", Fraction(1, 4)), ("(-1) ^ 3", -1)),
        *(("0 ^ 0", 1), ("7 // 2", 3), ("-7 % 3", 2), ("sqrt(9/4)", Fraction(3, 2))),
        *(("sum(1/2, 1/2)", 1), ("floor(7/2) / 2", Fraction(3, 2)), ("1e2 / 3", Fraction(100, 3))),
    ],
)
def test_whole_numbers_stay_exact(text: str, value: Fraction) -> None:
    found = value_of(text)
    assert found == value
    assert not isinstance(found, float)
