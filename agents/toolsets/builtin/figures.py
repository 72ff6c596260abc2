"""Tools of numbers as people use them: forms, chances, money."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from decimal import Decimal, DecimalException, localcontext
from statistics import NormalDist
from typing import Annotated, Any, Literal

from pydantic import Field

from agents.tools.calls import ToolError
from agents.toolsets.builtin.offer import Finite, offer
from agents.toolsets.builtin.words import in_words, roman, unroman

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_MAX_DIGITS = 60
_MAX_TRIALS = 100_000
Form = Literal["decimal", "binary", "octal", "hex", "roman", "scientific", "words", "grouped"]
Money = Annotated[float, Field(ge=-1e15, le=1e15)]


@offer({"number": "1.234,5", "decimal_mark": ",", "to": "grouped"}, inline=100)
def convert_number(
    number: Annotated[str, Field(max_length=_MAX_DIGITS)],
    to: Form,
    base: Annotated[int, Field(ge=2, le=36)] = 10,
    decimal_mark: Literal[".", ","] = ".",
) -> str:
    """Writes a number in another form; base is that of the given one, roman ones are known."""
    value = _read(number, base, decimal_mark)
    if to in {"decimal", "scientific", "grouped"}:
        form = {"decimal": "f", "scientific": "e", "grouped": ",f"}[to]
        return f"{value:{form}}"
    if value != value.to_integral_value():
        raise ToolError(f"{to} is a form of whole numbers.")
    whole = int(value)
    if to == "words":
        return in_words(whole)
    if to == "roman":
        return roman(whole)
    return format(whole, {"binary": "#b", "octal": "#o", "hex": "#x"}[to])


@offer(
    {"distribution": "binomial", "n": 10, "p": 0.5, "x": 3},
    inline=100,
    unless=lambda given: given["x"] > 100,  # noqa: PLR2004 - few
)
def probability(
    distribution: Literal["binomial", "poisson", "normal", "combinations", "permutations"],
    x: Finite,
    n: Annotated[int, Field(ge=0, le=_MAX_TRIALS)] = 0,
    p: Annotated[float, Field(ge=0, le=1)] = 0.5,
    mean: Annotated[float, Field(ge=-1e12, le=1e12)] = 0,
    deviation: Annotated[float, Field(gt=0, le=1e12)] = 1,
) -> dict[str, Any]:
    """Gives chances of x: binomial of n, p; poisson of mean; normal; combinations of n by x."""
    if distribution == "normal":
        found = NormalDist(mean, deviation)
        if not found.variance:
            raise ToolError("The deviation is too small. Give one above 1e-150.")
        return {"density": found.pdf(x), "at_most": found.cdf(x), "more": 1 - found.cdf(x)}
    if x != int(x) or not 0 <= x <= _MAX_TRIALS:
        raise ToolError(f"x is a whole number from 0 to {_MAX_TRIALS}.")
    k = int(x)
    if distribution in {"combinations", "permutations"}:
        if n > 1_000:  # noqa: PLR2004 - digits that can be shown
            raise ToolError("n is at most 1,000 here.")
        return {"count": str((math.comb if distribution == "combinations" else math.perm)(n, k))}
    if distribution == "poisson" and mean <= 0:
        raise ToolError("The mean of a Poisson distribution is above 0.")
    log = _binomial(n, p) if distribution == "binomial" else _poisson(mean)
    exactly = math.exp(log(k))
    at_most = min(1.0, math.fsum(math.exp(log(i)) for i in range(k + 1)))
    return {"exactly": exactly, "at_most": at_most, "more": max(0.0, 1 - at_most)}


@offer(
    {"action": "annuity", "rate": 0.05, "periods": 12, "amount": 1000},
    inline=200,
    unless=lambda given: given["action"] == "irr",
)
def finance(
    action: Literal["npv", "irr", "annuity", "future_value", "present_value"],
    rate: Annotated[float, Field(gt=-1, le=10)] = 0,
    periods: Annotated[int, Field(ge=0, le=1_200)] = 0,
    amount: Money = 0,
    payments: Annotated[list[Money], Field(max_length=1_200)] | None = None,
) -> dict[str, str]:
    """Calculates with a rate per period: npv, irr of payments (the first now); annuity and more."""
    flow = [Decimal(str(payment)) for payment in payments or []]
    if action in {"npv", "irr"} and not flow:
        raise ToolError(f"{action} takes payments.")
    by, sum_ = Decimal(str(rate)), Decimal(str(amount))
    try:
        with localcontext() as context:
            context.prec = 40
            if action == "irr":
                return {"rate": f"{_irr(flow):.10f}"}
            found = _FINANCE[action](by, periods, sum_, flow)
            return {"amount": f"{found:.2f}"}
    except DecimalException:
        raise ToolError("The amounts are too big. Give fewer periods or a lower rate.") from None


def _read(number: str, base: int, mark: str) -> Decimal:
    text = number.strip()
    if re.fullmatch(r"(?i)[mdclxvi]+", text) and base == 10:  # noqa: PLR2004 - the usual one
        return Decimal(unroman(text.upper()))
    bare = text.replace("_", "").replace(" ", "").replace("'", "").replace("’", "")
    bare = bare.replace("." if mark == "," else ",", "").replace(",", ".")
    try:
        if base != 10 or re.match(r"(?i)[-+]?0[xob]", bare):  # noqa: PLR2004 - the usual one
            return Decimal(int(bare, base if base != 10 else 0))  # noqa: PLR2004
        found = Decimal(bare)
    except (ValueError, DecimalException):
        raise ToolError(f"{number!r} is no number of base {base} with {mark!r}.") from None
    if not found.is_finite() or abs(found.adjusted()) > _MAX_DIGITS:
        raise ToolError(f"Numbers of up to {_MAX_DIGITS} digits are written.")
    return found


def _binomial(n: int, p: float) -> Callable[[int], float]:
    def log(k: int) -> float:
        if k > n or (p in {0, 1} and k != n * p):
            return -math.inf
        if p in {0, 1}:
            return 0.0
        ways = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
        return ways + k * math.log(p) + (n - k) * math.log1p(-p)

    return log


def _poisson(mean: float) -> Callable[[int], float]:
    return lambda k: k * math.log(mean) - mean - math.lgamma(k + 1)


def _npv(rate: Decimal, flow: list[Decimal]) -> Decimal:
    value = Decimal(0)
    for payment in reversed(flow):
        value = payment + value / (1 + rate)
    return value


def _irr(flow: list[Decimal]) -> Decimal:
    """By bisection, where the present value changes its sign between -99 % and 1,000 %."""
    low, high = Decimal("-0.99"), Decimal(10)
    sign = _npv(low, flow) > 0
    if sign == (_npv(high, flow) > 0):
        raise ToolError("There is no such rate: payments need to have both signs.")
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if (_npv(middle, flow) > 0) == sign else (low, middle)
    return low


def _annuity(rate: Decimal, periods: int, amount: Decimal) -> Decimal:
    if not periods:
        raise ToolError("annuity takes periods.")
    return amount / periods if not rate else amount * rate / (1 - (1 + rate) ** -periods)


_FINANCE: Mapping[str, Callable[[Decimal, int, Decimal, list[Decimal]], Decimal]] = {
    "npv": lambda rate, _n, _a, flow: _npv(rate, flow),
    "annuity": lambda rate, n, amount, _f: _annuity(rate, n, amount),
    "future_value": lambda rate, n, amount, _f: amount * (1 + rate) ** n,
    "present_value": lambda rate, n, amount, _f: amount / (1 + rate) ** n,
}

TOOLS = (convert_number, probability, finance)
