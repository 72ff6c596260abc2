"""Arithmetic that a model writes, evaluated exactly where it can be, and within bounds.

Not by a library: each operator is bounded here, and nothing would be left of one. Only what the
tables have is known, so no name, attribute or call of Python's own is reached.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from math import isfinite
from typing import Any

from agents.tools.calls import ToolError

#: Whole numbers are ``int``s, which are quicker than fractions by far.
Number = int | Fraction | float
#: What is done with how many values before it; of nothing, a number or the name of one.
_Step = tuple[Callable[..., "Number"] | None, Any]
#: Bits of a numerator or denominator: some 3,000 decimal digits.
_MAX_BITS = 10_000
_ROOM = 1 << _MAX_BITS
_MAX_LENGTH = 2_000
_MAX_FACTORIAL = 1_000
#: More brackets and signs than this wait for nothing that people write.
_MAX_DEPTH = 400
_DIGITS = "[0-9]+(?:_[0-9]+)*"
#: A number, a name, or a sign, behind blanks.
_TOKEN = re.compile(
    rf"\s*+((?:{_DIGITS}(?:\.(?:{_DIGITS})?)?|\.{_DIGITS})(?:[eE][+-]?[0-9]+)?|\w+|\*\*|//|\S)"
)
_NUMERIC = frozenset(".0123456789")
_COMMENT = re.compile(r"#.*")
_MAX_EXPONENT_DIGITS = 4
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
        with _TOLD:
            self._steps = _Reader(exact=exact).steps_of(text)

    def __call__(self, names: Mapping[str, Number]) -> Number:
        """Evaluate it.

        Raises:
            ToolError: it cannot be.
        """
        with _TOLD:
            return self._value({**CONSTANTS, **names} if names else CONSTANTS)

    @contextmanager
    def evaluating(self, name: str) -> Iterator[Callable[[float], float]]:
        """Evaluate it with many values of a name, within. Raises as a call."""
        names: dict[str, Number] = dict(CONSTANTS)

        def at(value: float) -> float:
            names[name] = value
            return float(self._value(names))

        with _TOLD:
            yield at

    def column(self, name: str, values: Sequence[float]) -> list[float]:
        """Evaluate it with each of many values of a name, in one go where it can be. Raises alike.

        Its own numbers are floats. Each step is made for all values by a call in C; where one has
        no float there, all are evaluated one after the other, and the first of them says why.
        """
        try:
            return self._column({name: [*values]}, len(values))
        except (LookupError, ArithmeticError, ValueError, TypeError):
            with self.evaluating(name) as at:
                return [at(value) for value in values]

    def _value(self, names: Mapping[str, Number]) -> Number:
        values: list[Number] = []
        for act, given in self._steps:
            if act is None:
                values.append(_named(given, names) if type(given) is str else given)
                continue
            if given == 2:  # noqa: PLR2004 - as most have
                right = values.pop()
                found = act(values.pop(), right)
            else:
                first = len(values) - given
                found = act(*values[first:])
                del values[first:]
            kind = type(found)
            small = isfinite(found) if kind is float else kind is int and -_ROOM < found < _ROOM
            values.append(found if small else _bounded(found))
        return values[0]

    def _column(self, named: Mapping[str, list[float]], count: int) -> list[float]:
        """The floats of all steps, by the values of names."""
        columns: list[list[float]] = []
        for act, given in self._steps:
            if act is None:
                known = named.get(given) if type(given) is str else None
                value = CONSTANTS[given] if type(given) is str and known is None else given
                columns.append(known or [float(value)] * count)
                continue
            first = len(columns) - given
            found = [*map(_IN_COLUMNS[act], *columns[first:])]
            if not isfinite(sum(found)):
                raise ValueError("a part has no float")
            columns[first:] = [found]
        return columns[0]


class _Reader:
    """Reads an expression into steps, by precedence (E. W. Dijkstra's shunting yard, 1961)."""

    def __init__(self, *, exact: bool) -> None:
        self._exact = exact
        self._steps: list[_Step] = []
        #: Precedence, act and number of values of what is done later; an open bracket has none,
        #: with the name of its function and the number of values before its last comma.
        self._waiting: list[tuple[int, Any, int]] = []

    def steps_of(self, text: str) -> list[_Step]:
        """The steps of an expression, each behind those that it needs.

        Raises:
            ToolError: it is none.
        """
        # Blanks at its end would be looked at once from each of them.
        written = text.replace("^", "**").replace("×", "*").replace("÷", "/").rstrip()
        steps, waiting, exact = self._steps, self._waiting, self._exact
        lacks = True  # a number, a name, or what gives one
        for word in _TOKEN.findall(
            _COMMENT.sub("", written).rstrip() if "#" in written else written
        ):
            if not lacks:
                lacks = self._go_on(word)
            elif word[0] in _NUMERIC and word != ".":
                value = _number(word)
                steps.append((None, value if exact else float(value)))
                lacks = False
                continue
            else:
                lacks = self._begin(word)
            if len(waiting) > _MAX_DEPTH:
                raise ToolError("The expression is nested too deep.")
        self._make(1)
        if lacks or self._waiting:
            raise ToolError("This is no expression: it has no end. Write e.g. 2 * (3 + 4) ^ 2")
        return self._steps

    def _begin(self, word: str) -> bool:
        """Take what a value begins with that is no number; return whether it is still lacking."""
        mark = word[0]
        if mark == "_" or mark.isalpha():
            self._steps.append((None, word))
            return False
        if word in _SIGNS:
            self._waiting.append((*_SIGNS[word], 1))
            return True
        if word == "(":
            self._waiting.append((0, None, 0))
            return True
        if word == ")" and self._waiting and type(self._waiting[-1][1]) is str:
            _, name, given = self._waiting.pop()  # of a function without values, or behind a comma
            self._steps.append((_function(name), given))
            return False
        raise _unknown(word)

    def _go_on(self, word: str) -> bool:
        """Take what comes behind a value; return whether another one is lacking."""
        if (known := _OPERATORS.get(word)) is not None:
            precedence, act = known
            if self._waiting:
                self._make(precedence + (act is _power))  # of powers, the last one is made first
            self._waiting.append((precedence, act, 2))
            return True
        if word == "(" and type(name := self._steps[-1][1]) is str:
            self._steps.pop()
            self._waiting.append((0, name, 0))
            return True
        self._make(1)
        if word not in {",", ")"} or not self._waiting:
            raise _unknown(word)
        _, name, given = self._waiting.pop()
        if word == "," and name is not None:
            self._waiting.append((0, name, given + 1))
            return True
        if word == ",":
            raise _unknown(word)
        if name is not None:
            self._steps.append((_function(name), given + 1))
        return False

    def _make(self, least: int) -> None:
        """Have done what waits and comes before an operator of that precedence."""
        waiting = self._waiting
        while waiting and waiting[-1][0] >= least:
            _, act, given = waiting.pop()
            self._steps.append((act, given))


def _number(word: str) -> Number:
    written = word.replace("_", "").lower()
    if written.isdecimal():
        if written[0] == "0" and written.strip("0"):
            raise ToolError(f"{word[:80]!r} is no number. Write e.g. 1250.75")
        return int(written)  # an expression has too few characters for one that is too big
    digits, e, power = written.partition("e")
    if not e:
        whole, _, part = digits.partition(".")
        return _over(int(whole + part), 10 ** len(part))
    if len(power.lstrip("+-")) > _MAX_EXPONENT_DIGITS:
        raise ToolError(f"{word[:80]!r} is no number. Write e.g. 1250.75")
    whole, _, part = digits.partition(".")
    by = int(power or 0)
    if abs(by) > _MAX_BITS // 4:
        raise ToolError(_TOO_BIG)
    value, shift = int(whole + part), by - len(part)
    return _bounded(value * 10**shift if shift >= 0 else _over(value, 10**-shift))


def _named(name: str, names: Mapping[str, Number]) -> Number:
    try:
        return names[name]
    except KeyError:
        raise ToolError(f"{name!r} is not known. There are {', '.join(names)}.") from None


def _unknown(word: str) -> ToolError:
    if word in _OPERATORS or word in {"(", ")", ","} or word[0] in ".0123456789":
        told = f"{word[:80]!r} does not fit there"
        return ToolError(f"This is no expression: {told}. Write e.g. 2 * (3 + 4) ^ 2")
    told = f"{word[:80]!r} is no number, and not known here"
    return ToolError(f"{told}. There are {', '.join(_KNOWN)}.")


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
    text = given["expression"]
    powers = text.count("^") + text.count("**")
    if powers > 1 or (powers and not _SMALL_POWER.search(text)):
        return True
    return _GROWS.search(text) is not None


_SMALL_POWER = re.compile(r"(?:\^|\*\*)\s*\d(?![\w.])")
_GROWS = re.compile(r"factorial|\d[eE]|\.[eE]")


def shown(value: Number, digits: int = 15) -> str:
    """A number as people write it: exact where its decimal digits end within 40, else rounded."""
    if isinstance(value, float):
        return f"{value:.{digits}g}"
    top, below = value.numerator, value.denominator
    if below == 1:
        return str(top)
    if below.bit_length() < _EXACT_BITS and (told := _ended(top, below)) is not None:
        return told
    return f"{_decimal(value):.{digits}g}"


def _ended(top: int, below: int) -> str | None:
    """A quotient with all its decimal digits; None: they have no end."""
    twos = (below & -below).bit_length() - 1
    rest, fives = below >> twos, 0
    while rest > 1:
        rest, more = divmod(rest, 5)
        if more:
            return None
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
        if not isfinite(value):
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
    if (
        type(base) is int
        and type(exponent) is int
        and 0 < exponent * base.bit_length() <= _MAX_BITS
    ):
        raised: int = base**exponent
        return raised
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


#: By their precedence; a sign comes before all of them but a power.
_OPERATORS: dict[str, tuple[int, Callable[..., Number]]] = {
    "+": (1, operator.add),
    "-": (1, operator.sub),
    "*": (2, operator.mul),
    "/": (2, _over),
    "//": (2, operator.floordiv),
    "%": (2, operator.mod),
    "**": (4, _power),
}
_SIGNS: dict[str, tuple[int, Callable[..., Number]]] = {
    "-": (3, operator.neg),
    "+": (3, operator.pos),
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
#: What gives a float of floats, in place of what does of any numbers.
_IN_COLUMNS: dict[Callable[..., Any], Callable[..., Any]] = {
    act: act
    for act in (*FUNCTIONS.values(), *(a for _, a in (*_OPERATORS.values(), *_SIGNS.values())))
} | {_over: operator.truediv, _power: operator.pow}
for _exact in ("round", "floor", "ceil", "factorial"):
    del _IN_COLUMNS[FUNCTIONS[_exact]]
