"""Tools that calculate."""

from __future__ import annotations

import math
import random
import statistics as stats
from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import Field

from agents.tools.base import CallContext
from agents.tools.calls import ToolError
from agents.toolsets.builtin.expressions import Expression, is_big, shown, value_of
from agents.toolsets.builtin.offer import Finite, offer
from agents.toolsets.builtin.units import converted

Values = Annotated[list[Finite], Field(min_length=1, max_length=50_000)]
_STEPS = 200
_SAMPLES = 200
#: Sums of squares between which floats lose none of their digits, and the part of one that may
#: come of a mean that was rounded.
_TINY, _GREAT, _ROUNDED = 1e-290, 1e290, 1e-14
#: Deviations of which no number of squares has a sum beyond all floats.
_FAR = 1e145
Drawn = Literal["integers", "floats", "normal", "choices", "shuffle"]


@offer({"expression": "0.1 + 0.2 * 3 ^ 2"}, inline=60, unless=is_big)
def calculate(expression: str) -> dict[str, str | bool]:
    """Calculates exactly with fractions and decimals: + - * / // % ^, sqrt, sin, ln, round."""
    value = value_of(expression)
    exact = not isinstance(value, float)
    told: dict[str, str | bool] = {"value": shown(value), "exact": exact}
    if exact and value.denominator != 1:  # type: ignore[union-attr]  # a Fraction
        told["fraction"] = str(value)
    return told


@offer({"values": [1, 2, 4, 9], "others": [2, 4, 8, 18]}, inline=200)
def statistics(values: Values, others: Values | None = None) -> dict[str, Any]:
    """Describes numbers: mean, quantiles, deviation; with others: correlation and line of trend."""
    found: dict[str, Any] = {
        "count": len(values),
        "sum": sum(values),
        "mean": stats.fmean(values),
        "min": min(values),
        "max": max(values),
    }
    if len(values) > 1:
        quartiles = stats.quantiles(values, method="inclusive")
        deviation = _deviations(values, found["mean"])
        found |= {"quartiles": quartiles, "standard_deviation": deviation}
    if others is not None:
        try:
            line = stats.linear_regression(values, others)
            found["correlation"] = stats.correlation(values, others)
        except stats.StatisticsError as error:
            raise ToolError(f"There is no correlation: {error}.") from None
        found["trend"] = {"slope": line.slope, "intercept": line.intercept}
    return found


@offer({"value": "5", "unit": "mile", "to": "km"}, "pint")
def convert_units(value: str, unit: str, to: str) -> dict[str, str]:
    """Converts a value between units: km/h, psi, degC, kWh, gallon, bytes and others."""
    return converted(value, unit, to)


@offer({"expression": "x ^ 2 - 2", "low": 0, "high": 2})
def find_root(expression: str, low: Finite, high: Finite) -> dict[str, float]:
    """Finds an x between low and high at which an expression of x is 0, by bisection."""
    points = [low + (high - low) * n / _SAMPLES for n in range(_SAMPLES + 1)]
    read = Expression(expression, exact=False)
    values = read.column("x", points)
    with read.evaluating("x") as at:
        return _root_of(at, points, values)


@offer(
    {"kind": "integers", "count": 3, "low": 1, "high": 6},
    inline=1_000,
    unless=lambda given: given["count"] > 100,  # noqa: PLR2004 - few
)
def random_values(
    kind: Drawn,
    count: Annotated[int, Field(ge=1, le=10_000)] = 1,
    low: Finite = 0,
    high: Finite = 1,
    items: Annotated[list[str], Field(max_length=10_000)] | None = None,
    call: CallContext | None = None,
) -> list[float] | list[int] | list[str]:
    """Draws random values, not for secrets; normal: low is the mean, high the deviation."""
    drawn = random.Random(call.key if call else "")  # noqa: S311 - a retry draws the same
    if kind in {"choices", "shuffle"} and not items:
        raise ToolError("Give items to choose from.")
    given = items or []
    if kind == "shuffle":
        return drawn.sample(given, min(len(given), count if count > 1 else len(given)))
    draw: dict[str, Callable[[], Any]] = {
        "integers": lambda: drawn.randint(round(min(low, high)), round(max(low, high))),
        "floats": lambda: drawn.uniform(low, high),
        "normal": lambda: drawn.gauss(low, high),
        "choices": lambda: drawn.choice(given),
    }
    return [draw[kind]() for _ in range(count)]


@offer(
    {"latitude": 52.52, "longitude": 13.405, "to_latitude": 48.137, "to_longitude": 11.575},
    inline=100,
)
def geo_distance(
    latitude: Annotated[float, Field(ge=-90, le=90)],
    longitude: Annotated[float, Field(ge=-180, le=180)],
    to_latitude: Annotated[float, Field(ge=-90, le=90)],
    to_longitude: Annotated[float, Field(ge=-180, le=180)],
) -> dict[str, float]:
    """Measures the way between two places on a sphere, within 0.5 %, and the bearing at its start.

    By the haversine formula (R. W. Sinnott, "Virtues of the Haversine", 1984).
    """
    a, b, c, d = map(math.radians, (latitude, longitude, to_latitude, to_longitude))
    half = math.sin((c - a) / 2) ** 2 + math.cos(a) * math.cos(c) * math.sin((d - b) / 2) ** 2
    km = 2 * 6371.0088 * math.asin(math.sqrt(half))
    east = math.sin(d - b) * math.cos(c)
    north = math.cos(a) * math.sin(c) - math.sin(a) * math.cos(c) * math.cos(d - b)
    bearing = math.degrees(math.atan2(east, north)) % 360
    return {"km": round(km, 3), "miles": round(km / 1.609344, 3), "bearing_deg": round(bearing, 2)}


def _root_of(
    at: Callable[[float], float], points: list[float], values: list[float]
) -> dict[str, float]:
    crossed = [n for n in range(_SAMPLES) if values[n] == 0 or values[n] * values[n + 1] <= 0]
    if not crossed:
        told = f"from {points[0]:g} to {points[-1]:g}"
        raise ToolError(f"The expression has one sign {told}. Give other bounds.")
    left, right = points[crossed[0]], points[crossed[0] + 1]
    sign = 1 if at(left) < 0 else -1
    for _ in range(_STEPS):
        middle = (left + right) / 2
        if middle in (left, right):  # there is no number between them
            break
        left, right = (middle, right) if sign * at(middle) < 0 else (left, middle)
    root = left if at(left) == 0 else right
    return {"x": root, "value": at(root), "sign_changes": len(crossed)}


def _deviations(values: list[float], mean: float) -> dict[str, float]:
    """Of a sample and of all: in floats, and exactly where these are too big, small, or near."""
    count, far = len(values), [value - mean for value in values]
    within = all(abs(one) < _FAR for one in far)
    squares = math.fsum(one * one for one in far) if within else math.inf
    rounded = math.fsum(far) ** 2 / count if within else math.inf
    if not (_TINY < squares < _GREAT and rounded < _ROUNDED * squares):
        return {"sample": stats.stdev(values), "population": stats.pstdev(values)}
    return {"sample": math.sqrt(squares / (count - 1)), "population": math.sqrt(squares / count)}


TOOLS = (calculate, statistics, convert_units, find_root, random_values, geo_distance)
