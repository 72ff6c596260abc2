"""Arithmetic that a model writes, evaluated exactly where it can be, and within bounds.

Not by a library: each operator is bounded here, and nothing would be left of one. Only the nodes
of the tables are known, so no name, attribute or call of Python's own is reached.
"""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any

from agents.tools.calls import ToolError

Number = Fraction | float
_Act = Callable[[Mapping[str, "Number"]], "Number"]
#: Bits of a numerator or denominator: some 3,000 decimal digits.
_MAX_BITS = 10_000
_MAX_LENGTH = 2_000
_MAX_FACTORIAL = 1_000
_LITERAL = re.compile(r"\d[\d_]*(?:\.[\d_]*)?(?:[eE][+-]?\d{1,4})?|\.\d[\d_]*(?:[eE][+-]?\d{1,4})?")
_EXPONENT = re.compile(r"[eE]([+-]?\d+)$")
_TOO_BIG = "A number has become too big. Ask for a power or a product of less than 3,000 digits."

CONSTANTS: dict[str, Number] = {"pi": math.pi, "e": math.e, "tau": math.tau}


def value_of(text: str, names: Mapping[str, Number] | None = None) -> Number:
    """The value of an expression; a ``Fraction`` where it is exact.

    Raises:
        ToolError: it is none, or has become too big.
    """
    return Expression(text)(names or {})


class Expression:
    """An expression, read once and evaluated with any values of its names.

    Not ``exact``: its own numbers are floats, as those are that it is evaluated with.
    """

    def __init__(self, text: str, *, exact: bool = True) -> None:
        if len(text) > _MAX_LENGTH:
            raise ToolError(f"An expression has up to {_MAX_LENGTH} characters.")
        self._text = text.replace("^", "**").replace("×", "*").replace("÷", "/").strip()
        self._exact = exact
        with self._told():
            try:
                tree = ast.parse(self._text, mode="eval").body
            except (SyntaxError, ValueError, MemoryError) as error:
                said = error.msg if isinstance(error, SyntaxError) else "it is nested too deep"
                raise ToolError(
                    f"This is no expression: {said}. Write e.g. 2 * (3 + 4) ^ 2"
                ) from None
            self._act = self._made(tree)

    def __call__(self, names: Mapping[str, Number]) -> Number:
        """Evaluate it.

        Raises:
            ToolError: it cannot be.
        """
        with self._told():
            return self._act({**CONSTANTS, **names})

    @contextmanager
    def evaluating(self, name: str) -> Iterator[Callable[[float], float]]:
        """Evaluate it with many values of a name, within. Raises as a call."""
        names, act = dict(CONSTANTS), self._act

        def at(value: float) -> float:
            names[name] = value
            return float(act(names))

        with self._told():
            yield at

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except ZeroDivisionError:
            raise ToolError("It divides by zero.") from None
        except (OverflowError, InvalidOperation):
            raise ToolError(_TOO_BIG) from None
        except (ValueError, TypeError) as error:
            raise ToolError(f"It has no value: {error}.") from None
        except RecursionError:
            raise ToolError("The expression is nested too deep.") from None

    def _made(self, node: ast.expr) -> _Act:
        """A function that gives the value of a part, with the values of names."""
        if isinstance(node, ast.Constant):
            constant = self._constant(node)
            return lambda _names: constant
        if isinstance(node, ast.Name):
            return _of_name(node.id)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
            inner = self._made(node.operand)
            return (lambda names: -inner(names)) if isinstance(node.op, ast.USub) else inner
        if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
            act, left, right = (
                _OPERATORS[type(node.op)],
                self._made(node.left),
                self._made(node.right),
            )
            return _of_two(act, left, right)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
            called, given = _function(node.func.id), [self._made(arg) for arg in node.args]
            return lambda names: _bounded(called(*(one(names) for one in given)))
        written = self._written(node)
        raise ToolError(f"{written[:80]!r} is not known here. There are {', '.join(_KNOWN)}.")

    def _constant(self, node: ast.Constant) -> Number:
        written = self._written(node)
        if not _LITERAL.fullmatch(written):
            raise ToolError(f"{written[:80]!r} is no number. Write e.g. 1250.75")
        if written.isdecimal() and written.isascii():
            found = _bounded(Fraction(int(written)))
        elif abs(int((_EXPONENT.search(written) or [0, 0])[1])) > _MAX_BITS // 4:
            raise ToolError(_TOO_BIG)
        else:
            found = _bounded(Fraction(written.replace("_", "")))
        return found if self._exact else float(found)

    def _written(self, node: ast.expr) -> str:
        """A part as it is written. The library's own way splits the whole text each time."""
        if self._text.isascii() and self._text.isprintable():  # in one line
            return self._text[node.col_offset : node.end_col_offset]
        return ast.get_source_segment(self._text, node) or ""


def is_big(given: Mapping[str, Any]) -> bool:
    """Return whether the numbers of a short expression may have hundreds of digits."""
    text = given["expression"].replace("^", "**")
    powers = text.count("**")
    return powers > 1 or powers > len(_SMALL_POWER.findall(text)) or bool(_GROWS.search(text))


_SMALL_POWER = re.compile(r"\*\*\s*\d(?![\w.])")
_GROWS = re.compile(r"factorial|\d[eE]|\.[eE]")


def shown(value: Number, digits: int = 15) -> str:
    """A number as people write it: exact where its decimal digits end within 40, else rounded."""
    if isinstance(value, float):
        return f"{value:.{digits}g}"
    if value.denominator == 1:
        return str(value.numerator)
    if value.denominator.bit_length() < _EXACT_BITS and not _endless(value.denominator):
        return _ended(value)
    return f"{_decimal(value):.{digits}g}"


def _ended(value: Fraction) -> str:
    """A number all of whose decimal digits are written."""
    rest, powers = value.denominator, [0, 0]
    for place, prime in enumerate((2, 5)):
        while rest % prime == 0:
            rest //= prime
            powers[place] += 1
    behind = max(powers)
    text = str(abs(value.numerator) * 10**behind // value.denominator).rjust(behind + 1, "0")
    return f"{'-' * (value < 0)}{text[:-behind]}.{text[-behind:]}"


_EXACT_BITS = 128


def _decimal(value: Fraction) -> Decimal:
    from decimal import localcontext

    with localcontext() as context:
        context.prec = _MAX_BITS
        context.Emax, context.Emin = 999_999, -999_999
        if value.denominator.bit_length() >= _EXACT_BITS or _endless(value.denominator):
            context.prec = 50
        return Decimal(value.numerator) / Decimal(value.denominator)


def _endless(denominator: int) -> bool:
    return pow(10, denominator.bit_length(), denominator) != 0


def _bounded(value: Number | complex) -> Number:
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ToolError(_TOO_BIG)
        return value
    if isinstance(value, complex):
        raise ToolError("It has no real value.")
    found = value if type(value) is Fraction else Fraction(value)
    if max(found.numerator.bit_length(), found.denominator.bit_length()) > _MAX_BITS:
        raise ToolError(_TOO_BIG)
    return found


def _power(base: Number, exponent: Number) -> Number:
    if type(base) is Fraction and isinstance(exponent, Fraction) and exponent.denominator == 1:
        bits = max(base.numerator.bit_length(), base.denominator.bit_length())
        if base not in {0, 1, -1} and abs(exponent) * bits > _MAX_BITS:
            raise ToolError(_TOO_BIG)
        if base in {1, -1}:
            return base if exponent.numerator % 2 else Fraction(1)
        if base == 0 and exponent > 0:
            return base
        return base**exponent.numerator
    found: Number = float(base) ** float(exponent)
    return found


def _root(value: Number) -> Number:
    if isinstance(value, Fraction) and value >= 0:
        top, bottom = math.isqrt(value.numerator), math.isqrt(value.denominator)
        if top * top == value.numerator and bottom * bottom == value.denominator:
            return Fraction(top, bottom)
    return math.sqrt(value)


def _factorial(value: Number) -> Number:
    if value != int(value) or not 0 <= value <= _MAX_FACTORIAL:
        raise ToolError(f"A factorial is of a whole number from 0 to {_MAX_FACTORIAL}.")
    return Fraction(math.factorial(int(value)))


def _rounded(value: Number, digits: Number = Fraction(0)) -> Number:
    """By half to even, of the exact value."""
    return Fraction(round(Fraction(value), max(-100, min(100, int(digits)))))


def _function(name: str) -> Callable[..., Number]:
    if name not in FUNCTIONS:
        raise ToolError(f"There is no function {name!r}. There are {', '.join(FUNCTIONS)}.")
    return FUNCTIONS[name]


def _of_name(name: str) -> _Act:
    def value(names: Mapping[str, Number]) -> Number:
        try:
            return names[name]
        except KeyError:
            raise ToolError(f"{name!r} is not known. There are {', '.join(names)}.") from None

    return value


def _of_two(act: Callable[..., Number], left: _Act, right: _Act) -> _Act:
    def value(names: Mapping[str, Number]) -> Number:
        return _bounded(act(left(names), right(names)))

    return value


_OPERATORS: dict[type[ast.operator], Callable[..., Number]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: _power,
}
FUNCTIONS: dict[str, Callable[..., Number]] = {
    "abs": abs,
    "min": lambda *given: min(given),
    "max": lambda *given: max(given),
    "sum": lambda *given: sum(given, Fraction(0)),
    "round": _rounded,
    "floor": lambda value: Fraction(math.floor(value)),
    "ceil": lambda value: Fraction(math.ceil(value)),
    "sqrt": _root,
    "factorial": _factorial,
    "exp": math.exp,
    "ln": math.log,
    "log": lambda value, base=10.0: math.log10(value) if base == 10 else math.log(value, base),  # noqa: PLR2004 - the usual one
    "log2": math.log2,
    **{name: getattr(math, name) for name in ("sin", "cos", "tan", "asin", "acos", "atan")},
    **{name: getattr(math, name) for name in ("sinh", "cosh", "tanh", "degrees", "radians")},
    "hypot": math.hypot,
}
_KNOWN = ("+ - * / // % ^", *FUNCTIONS)
