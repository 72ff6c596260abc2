"""Numbers as they are read and written."""

from __future__ import annotations

import ast
import math
import operator
import random
import re
from contextlib import suppress
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agents.tools.calls import ToolError
from agents.toolsets.builtin.expressions import (
    CONSTANTS,
    FUNCTIONS,
    Expression,
    _power,
    shown,
    value_of,
)


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


ACTS: dict[type[ast.AST], Any] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: _power,  # it is bounded, and what is compared is how a text is read
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}


def of_python(node: ast.expr, text: str) -> Any:
    """The value of a part by Python's own reader; LookupError: it is none of arithmetic."""
    if isinstance(node, ast.Constant):
        if type(node.value) not in {int, float}:
            raise LookupError
        return Fraction((ast.get_source_segment(text, node) or "").replace("_", ""))
    if isinstance(node, ast.Name):
        return CONSTANTS[node.id]
    if isinstance(node, ast.BinOp):
        return ACTS[type(node.op)](of_python(node.left, text), of_python(node.right, text))
    if isinstance(node, ast.UnaryOp):
        return ACTS[type(node.op)](of_python(node.operand, text))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
        return FUNCTIONS[node.func.id](*(of_python(one, text) for one in node.args))
    raise LookupError


WORDS = [
    *("1", "2", "3", "0", "10", "0.5", "2.", ".25", "1e2 ", "1_0", "1E-1 ", "1__0", "1_", "012"),
    *("00", "01.5", "1.2.3", "0x1", "2j", "pi", "x", "None", "max", "abs", "sqrt", "floor", "'a'"),
    *("+", "-", "*", "/", "//", "%", "**", "^", "(", ")", ",", "(", ")", "=", "<", "[", ".", "@"),
    *(" ", "\t", "# 2", "not", "if"),
]
NUMBERS = st.sampled_from(["1", "2", "3", "0.5", ".25", "1e0", "0_0", "pi"])
SIGNED = st.tuples(st.sampled_from(["-", "+", "- -", ""]), NUMBERS).map("".join)


def larger(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Two parts with an operator, one in brackets, with a sign, or the values of a function."""
    operators = st.sampled_from(["+", "-", "*", "/", "//", "%", "**", " ^ "])
    several = st.lists(inner, min_size=1, max_size=3).map(", ".join)
    return st.one_of(
        st.tuples(inner, operators, inner).map("".join),
        inner.map("({})".format),
        inner.map("-{}".format),
        st.tuples(st.sampled_from(["max", "min", "sum"]), several).map("{0[0]}({0[1]})".format),
        inner.map("abs ({},)".format),
    )


@given(st.recursive(SIGNED, larger, max_leaves=6) | st.lists(st.sampled_from(WORDS)).map("".join))
@example("2 ** -3 ** 2")
@example("-2 ** -2 * 3 - 4 - 5")
@example("-7 // 2 % 3")
@example("max(1, 2,)")
@example("max(1 2)")
@example("(1, 2)")
@example("max(,)")
@example("(sqrt)(4)")
@example("sqrt(4)(2)")
def test_an_expression_means_what_it_means_to_python(text: str) -> None:
    written = text.replace("^", "**").strip()
    wanted: Any = None
    with suppress(SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, ToolError):
        wanted = of_python(ast.parse(written, mode="eval").body, written)
    if wanted is None or isinstance(wanted, complex) or abs(wanted) == math.inf:
        with pytest.raises(ToolError):
            value_of(text)
    else:
        assert value_of(text) == wanted
