"""Tools of exact algebra: equations, matrices, whole numbers."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Annotated, Any, Literal

from pydantic import Field

from agents.tools.calls import ToolError
from agents.toolsets.builtin.expressions import shown
from agents.toolsets.builtin.offer import offer

Entry = Annotated[str, Field(max_length=20)] | int | float
Rows = Annotated[
    list[Annotated[list[Entry], Field(min_length=1, max_length=20)]],
    Field(min_length=1, max_length=20),
]
#: Numbers up to which these are found at once.
_QUICK, _SEARCHED = 10**6, {"factors", "divisors", "next_prime"}
#: Whole numbers are ``int``s, which are quicker than fractions by far.
_Exact = list[list[int | Fraction]]
_MOST = 10**18
#: A number, or a quotient; an exponent has two digits, so that no entry is too big.
_ENTRY = re.compile(r"[-+]?\d+(?:/\d+|(?:\.\d*)?(?:e[-+]?\d{1,2})?)|[-+]?\.\d+")
#: Bases by which the test of Miller and Rabin is exact below 3.3 · 10^24 (Sorenson, Webster 2015).
_WITNESSES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41)
_SURE = 3_317_044_064_679_887_385_961_981


@offer({"equations": [[2, 1], [1, -1]], "right": [5, 1]}, inline=150)
def solve_linear(equations: Rows, right: list[Entry]) -> dict[str, Any]:
    """Solves linear equations exactly: a row of coefficients each, and the right side of each."""
    rows = _exact(equations)
    if len(right) != len(rows):
        raise ToolError(f"There are {len(rows)} equations and {len(right)} right sides.")
    unknowns = len(rows[0])
    reduced, pivots, below, _ = _reduced(
        [[*row, _fraction(r)] for row, r in zip(rows, right, strict=True)]
    )
    if unknowns in pivots:
        return {"solutions": "none"}
    if len(pivots) < unknowns:
        return {"solutions": "infinitely many", "free": unknowns - len(pivots)}
    return {"solutions": "one", "x": [_quotient(row[-1], below) for row in reduced[:unknowns]]}


@offer({"action": "inverse", "rows": [[1, 2], [3, 4]]}, inline=150)
def matrix(
    action: Literal["product", "sum", "inverse", "determinant", "transpose", "rank"],
    rows: Rows,
    other: Rows | None = None,
) -> Any:
    """Calculates with matrices exactly; product and sum take another one. Entries may be "1/3"."""
    first = _exact(rows)
    second = _exact(other) if other else []
    return _ACTIONS[action](first, second)


@offer(
    {"action": "factors", "number": 360},
    inline=100,
    unless=lambda given: given["number"] > _QUICK and given["action"] in _SEARCHED,
)
def number_theory(
    action: Literal["factors", "is_prime", "next_prime", "divisors", "gcd", "lcm", "modpow"],
    number: Annotated[int, Field(ge=0, le=_MOST)],
    other: Annotated[int, Field(ge=0, le=_MOST)] | None = None,
    modulus: Annotated[int, Field(ge=1, le=_MOST)] | None = None,
) -> Any:
    """Looks at whole numbers up to 10^18; gcd, lcm take other; modpow: number^other mod modulus."""
    if action in {"gcd", "lcm", "modpow"} and (
        other is None or (action == "modpow" and not modulus)
    ):
        raise ToolError(f"{action} takes other{' and modulus' if action == 'modpow' else ''}.")
    if action == "modpow":
        return pow(number, other or 0, modulus or 1)
    if action in {"gcd", "lcm"}:
        return (math.gcd if action == "gcd" else math.lcm)(number, other or 0)
    if action in {"factors", "divisors"} and not number:
        raise ToolError("0 has no factors. Give a number from 1.")
    of_one: dict[str, Callable[[int], Any]] = {
        "factors": lambda n: {str(p): k for p, k in factors(n).items()},
        "is_prime": is_prime,
        "next_prime": lambda n: next(m for m in range(n + 1, n + 10_000) if is_prime(m)),
        "divisors": _divisors,
    }
    return of_one[action](number)


def is_prime(number: int) -> bool:
    """Return whether a number is prime: Miller and Rabin's test, exact as far as it is used."""
    if number < _WITNESSES[-1] + 1:
        return number in _WITNESSES
    if any(number % prime == 0 for prime in _WITNESSES):
        return False
    odd, twos = number - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    return all(_passes(pow(base, odd, number), number, twos) for base in _WITNESSES)


def _passes(power: int, number: int, twos: int) -> bool:
    if power in {1, number - 1}:
        return True
    for _ in range(twos - 1):
        power = power * power % number
        if power == number - 1:
            return True
    return False


def factors(number: int) -> dict[int, int]:
    """The prime factors of a number with their exponents, by Pollard's rho (1975)."""
    found: dict[int, int] = {}
    todo = [number]
    while todo:
        one = todo.pop()
        if one == 1:
            continue
        if is_prime(one):
            found[one] = found.get(one, 0) + 1
            continue
        part = _part(one)
        todo += [part, one // part]
    return dict(sorted(found.items()))


def _part(number: int) -> int:
    """A factor of a composite number."""
    for prime in _WITNESSES:
        if number % prime == 0:
            return prime
    drawn = random.Random(number)  # noqa: S311 - any sequence does; the same each time
    while True:
        slow = fast = drawn.randrange(number)
        add, found = drawn.randrange(1, number), 1
        while found == 1:
            slow = (slow * slow + add) % number
            fast = (fast * fast + add) % number
            fast = (fast * fast + add) % number
            found = math.gcd(abs(slow - fast), number)
        if found != number:
            return found


def _divisors(number: int) -> dict[str, Any]:
    found = [1]
    for prime, most in factors(number).items():
        found = [d * prime**k for d in found for k in range(most + 1)]
    return {"count": len(found), "divisors": sorted(found)[:1_000]}


def _fraction(entry: str | float) -> int | Fraction:
    if type(entry) is int:
        return entry
    if not _ENTRY.fullmatch(str(entry).strip()):
        raise ToolError(f"{entry!r} is no number. Write e.g. 3, 0.25 or 1/3")
    try:
        return Fraction(str(entry).strip())
    except ZeroDivisionError:
        raise ToolError(f"{entry!r} divides by zero.") from None


def _exact(rows: Sequence[Sequence[Any]]) -> _Exact:
    if len({len(row) for row in rows}) != 1:
        raise ToolError("All rows need to have as many entries as the first.")
    return [[_fraction(entry) for entry in row] for row in rows]


def _reduced(rows: _Exact) -> tuple[list[list[int]], list[int], int, tuple[int, int]]:
    """Reduced row echelon form, the columns of its pivots, and a square one's determinant, as p/q.

    The numbers of the form have one denominator, which comes behind the columns. In whole numbers,
    each division without a rest (E. H. Bareiss, "Sylvester's Identity and Multistep
    Integer-Preserving Gaussian Elimination", 1968): fractions take ten times as long.
    """
    below = [math.lcm(*[value.denominator for value in row]) for row in rows]
    whole = [
        [value.numerator * (common // value.denominator) for value in row]
        for row, common in zip(rows, below, strict=True)
    ]
    pivots: list[int] = []
    last, sign = 1, 1
    for column in range(len(whole[0])):
        top = len(pivots)
        place = top
        while place < len(whole) and not whole[place][column]:
            place += 1
        if place == len(whole):
            continue
        if place != top:
            whole[top], whole[place] = whole[place], whole[top]
            sign = -sign
        chosen = whole[top]
        pivot = chosen[column]
        for n, row in enumerate(whole):
            if n != top:
                by = row[column]
                pairs = zip(row, chosen, strict=True)
                whole[n] = [(pivot * a - by * b) // last for a, b in pairs]
        last = pivot
        pivots.append(column)
        if len(pivots) == len(whole):
            break
    determinant = sign * last if len(pivots) == len(whole) else 0
    return whole, pivots, last, (determinant, math.prod(below))


def _square(rows: _Exact) -> int:
    if len(rows) != len(rows[0]):
        raise ToolError(f"It takes a square matrix, and not {len(rows)} by {len(rows[0])}.")
    return len(rows)


def _quotient(value: int, by: int) -> str:
    return str(value // by) if value % by == 0 else shown(Fraction(value, by))


def _told(rows: Sequence[Sequence[int | Fraction]]) -> list[list[str]]:
    return [[shown(value) for value in row] for row in rows]


def _dot(a: Sequence[int | Fraction], b: Sequence[int | Fraction]) -> int | Fraction:
    return sum(x * y for x, y in zip(a, b, strict=True))


def _product(a: _Exact, b: _Exact) -> list[list[str]]:
    if len(b) != len(a[0]):
        raise ToolError(f"other needs to have {len(a[0])} rows.")
    columns = [*zip(*b, strict=True)]
    return _told([[_dot(row, column) for column in columns] for row in a])


def _sum(a: _Exact, b: _Exact) -> list[list[str]]:
    if (len(a), len(a[0])) != (len(b), len(b[0]) if b else 0):
        raise ToolError(f"other needs to have {len(a)} by {len(a[0])} entries.")
    return _told([[x + y for x, y in zip(p, q, strict=True)] for p, q in zip(a, b, strict=True)])


def _inverse(a: _Exact, _: _Exact) -> list[list[str]]:
    size = _square(a)
    beside = [[*row, *(int(n == m) for m in range(size))] for n, row in enumerate(a)]
    reduced, pivots, below, _d = _reduced(beside)
    if pivots != [*range(size)]:
        raise ToolError("The matrix has no inverse: its determinant is 0.")
    return [[_quotient(value, below) for value in row[size:]] for row in reduced]


def _determinant(a: _Exact, _: _Exact) -> str:
    _square(a)
    return _quotient(*_reduced(a)[3])


_ACTIONS: dict[str, Callable[[_Exact, _Exact], Any]] = {
    "product": _product,
    "sum": _sum,
    "inverse": _inverse,
    "determinant": _determinant,
    "transpose": lambda a, _: _told([*zip(*a, strict=True)]),
    "rank": lambda a, _: len(_reduced(a)[1]),
}

TOOLS = (solve_linear, matrix, number_theory)
