"""Arithmetic that a model writes, evaluated exactly where it can be, and within bounds.

Not by a library: each operator is bounded here, and nothing would be left of one. Only the nodes
of the tables are known, so no name, attribute or call of Python's own is reached.
"""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any

from agents.tools.calls import ToolError

#: Whole numbers are ``int``s, which are quicker than fractions by far.
Number = int | Fraction | float
_Act = Callable[[Mapping[str, "Number"]], "Number"]
#: Bits of a numerator or denominator: some 3,000 decimal digits.
_MAX_BITS = 10_000
_MAX_LENGTH = 2_000
_MAX_FACTORIAL = 1_000
_LITERAL = re.compile(r"(?=\.?\d)(\d[\d_]*)?(?:\.([\d_]*))?(?:[eE]([+-]?\d{1,4}))?")
_TOO_BIG = "A number has become too big. Ask for a power or a product of less than 3,000 digits."

CONSTANTS: dict[str, Number] = {"pi": math.pi, "e": math.e, "tau": math.tau}


def value_of(text: str, names: Mapping[str, Number] | None = None) -> Number:
    """The value of an expression; an ``int`` or a ``Fraction`` where it is exact.

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
        self._is_line = self._text.isascii() and self._text.isprintable()
        with _TOLD:
            try:
                self._tree = ast.parse(self._text, mode="eval").body
            except (SyntaxError, ValueError, MemoryError) as error:
                said = error.msg if isinstance(error, SyntaxError) else "it is nested too deep"
                raise ToolError(
                    f"This is no expression: {said}. Write e.g. 2 * (3 + 4) ^ 2"
                ) from None
            self._act = self._made(self._tree)

    def __call__(self, names: Mapping[str, Number]) -> Number:
        """Evaluate it.

        Raises:
            ToolError: it cannot be.
        """
        with _TOLD:
            return self._act({**CONSTANTS, **names})

    @contextmanager
    def evaluating(self, name: str) -> Iterator[Callable[[float], float]]:
        """Evaluate it with many values of a name, within. Raises as a call."""
        names, act = dict(CONSTANTS), self._act

        def at(value: float) -> float:
            names[name] = value
            return float(act(names))

        with _TOLD:
            yield at

    def column(self, name: str, values: Sequence[float]) -> list[float]:
        """Evaluate it with each of many values of a name, in one go where it can be. Raises alike.

        Its own numbers are floats. Each part is evaluated for all values by a call in C; where one
        has no float there, all are evaluated one after the other, and the first of them says why.
        """
        try:
            return self._column(self._tree, {name: [*values]}, len(values))
        except (LookupError, ArithmeticError, ValueError, TypeError, RecursionError):
            with self.evaluating(name) as at:
                return [at(value) for value in values]

    def _column(self, node: ast.expr, given: Mapping[str, list[float]], count: int) -> list[float]:
        """The floats of a part, by the values of names."""
        if isinstance(node, ast.Constant):
            return [float(self._constant(node))] * count
        if isinstance(node, ast.Name):
            return given.get(node.id) or [float(CONSTANTS[node.id])] * count
        act, parts = _act_of(node)
        columns = [self._column(part, given, count) for part in parts]
        found = [*map(_IN_COLUMNS[act], *columns)]
        if not math.isfinite(sum(found)):
            raise ValueError("a part has no float")
        return found

    def _made(self, node: ast.expr) -> _Act:
        """A function that gives the value of a part, with the values of names."""
        if isinstance(node, ast.Constant):
            constant = self._constant(node)
            return lambda _names: constant
        if isinstance(node, ast.BinOp) and (act := _OPERATORS.get(type(node.op))) is not None:
            return _of_two(act, self._made(node.left), self._made(node.right))
        if isinstance(node, ast.Name):
            return _of_name(node.id)
        if isinstance(node, ast.UnaryOp) and type(node.op) in _SIGNS:
            inner = self._made(node.operand)
            return (lambda names: -inner(names)) if isinstance(node.op, ast.USub) else inner
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
            called, given = _function(node.func.id), [self._made(arg) for arg in node.args]
            return lambda names: _bounded(called(*(one(names) for one in given)))
        written = self._written(node)
        raise ToolError(f"{written[:80]!r} is not known here. There are {', '.join(_KNOWN)}.")

    def _constant(self, node: ast.Constant) -> Number:
        written = self._written(node)
        if (literal := _LITERAL.fullmatch(written)) is None:
            raise ToolError(f"{written[:80]!r} is no number. Write e.g. 1250.75")
        if type(node.value) is int:
            found = _bounded(node.value)
        else:
            whole, part, power = literal.groups("")
            part, by = part.replace("_", ""), int(power or 0)
            if abs(by) > _MAX_BITS // 4:
                raise ToolError(_TOO_BIG)
            digits, shift = int(whole + part), by - len(part)
            found = _bounded(digits * 10**shift if shift >= 0 else _over(digits, 10**-shift))
        return found if self._exact else float(found)

    def _written(self, node: ast.expr) -> str:
        """A part as it is written. The library's own way splits the whole text each time."""
        if self._is_line:
            return self._text[node.col_offset : node.end_col_offset]
        return ast.get_source_segment(self._text, node) or ""


class _Told:
    """Tells a model of Python's errors in its words."""

    def __enter__(self) -> None:
        return

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if error is None:
            return
        if isinstance(error, ZeroDivisionError):
            raise ToolError("It divides by zero.") from None
        if isinstance(error, OverflowError | InvalidOperation):
            raise ToolError(_TOO_BIG) from None
        if isinstance(error, ValueError | TypeError):
            raise ToolError(f"It has no value: {error}.") from None
        if isinstance(error, RecursionError):
            raise ToolError("The expression is nested too deep.") from None


_TOLD = _Told()


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
    top, below = value.numerator, value.denominator
    if below == 1:
        return str(top)
    if below.bit_length() < _EXACT_BITS and not _endless(below):
        return _ended(top, below)
    return f"{_decimal(value):.{digits}g}"


def _ended(top: int, below: int) -> str:
    """A quotient all of whose decimal digits are written."""
    twos = (below & -below).bit_length() - 1
    rest, fives = below >> twos, 0
    while rest > 1:
        rest //= 5
        fives += 1
    behind = max(twos, fives)
    text = str(abs(top) * 10**behind // below).rjust(behind + 1, "0")
    return f"{'-' * (top < 0)}{text[:-behind]}.{text[-behind:]}"


_EXACT_BITS = 128


def _decimal(value: int | Fraction) -> Decimal:
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
    if value.numerator.bit_length() > _MAX_BITS or value.denominator.bit_length() > _MAX_BITS:
        raise ToolError(_TOO_BIG)
    return value


def _over(value: Number, by: Number) -> Number:
    """A quotient, exact of exact numbers."""
    if type(value) is int and type(by) is int:
        return value // by if by and value % by == 0 else Fraction(value, by)
    return value / by


def _power(base: Number, exponent: Number) -> Number:
    if isinstance(base, float) or isinstance(exponent, float) or exponent.denominator != 1:
        found: Number = float(base) ** float(exponent)
        return found
    times, small = exponent.numerator, base in (0, 1, -1)
    bits = max(base.numerator.bit_length(), base.denominator.bit_length())
    if not small and abs(times) * bits > _MAX_BITS:
        raise ToolError(_TOO_BIG)
    if small and base:
        return base if times % 2 else 1
    if times > 0:
        return base if small else base**times
    return Fraction(base) ** times


def _root(value: Number) -> Number:
    if not isinstance(value, float) and value >= 0:
        top, bottom = math.isqrt(value.numerator), math.isqrt(value.denominator)
        if top * top == value.numerator and bottom * bottom == value.denominator:
            return Fraction(top, bottom)
    return math.sqrt(value)


def _factorial(value: Number) -> Number:
    if value != int(value) or not 0 <= value <= _MAX_FACTORIAL:
        raise ToolError(f"A factorial is of a whole number from 0 to {_MAX_FACTORIAL}.")
    return math.factorial(int(value))


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
        found = act(left(names), right(names))
        return found if type(found) is float and math.isfinite(found) else _bounded(found)

    return value


_SIGNS = (ast.USub, ast.UAdd)
_OPERATORS: dict[type[ast.operator], Callable[..., Number]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: _over,
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
#: What gives a float of floats, by operators and names.
_IN_COLUMNS: dict[Any, Callable[..., Any]] = {
    **_OPERATORS,
    **FUNCTIONS,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}
for _exact in ("round", "floor", "ceil", "factorial"):
    del _IN_COLUMNS[_exact]


def _act_of(node: ast.expr) -> tuple[type | str, list[ast.expr]]:
    """The act of a part, with the parts that it is done with."""
    if isinstance(node, ast.BinOp):
        return type(node.op), [node.left, node.right]
    if isinstance(node, ast.UnaryOp):
        return type(node.op), [node.operand]
    assert isinstance(node, ast.Call)
    assert isinstance(node.func, ast.Name)
    return node.func.id, node.args
