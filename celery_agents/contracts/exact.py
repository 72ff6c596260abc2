"""Exact numbers and unique names, for the contracts of votes."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from fractions import Fraction
from typing import Annotated

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema

#: A fraction has as many digits as any number that is written, exactly, as one: floats have up to
#: 340 behind their point.
_NUMBER = re.compile(
    r"(?P<number>\d{1,400}/\d{1,400}|\d{1,15}(\.\d{1,15})?)\s*(?P<percent>%?)", re.ASCII
)


def exact(value: object) -> Fraction:
    """The exact value of a number as people write it: 0.1 (one tenth), "2/3", "66.5%"."""
    if isinstance(value, Fraction):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return Fraction(value)
    if isinstance(value, float) and math.isfinite(value):
        return Fraction(repr(value))
    if isinstance(value, str) and (match := _NUMBER.fullmatch(value.strip())):
        top, _, bottom = match["number"].partition("/")
        if bottom and int(bottom):
            return Fraction(int(top), int(bottom)) / (100 if match["percent"] else 1)
        if not bottom:
            return Fraction(top) / (100 if match["percent"] else 1)
    raise ValueError(f"{value!r:.60} is not a number like 0.5, '2/3' or '66%'")


def _readable(value: Fraction) -> int | str:
    return value.numerator if value.denominator == 1 else str(value)


#: As :func:`exact` reads texts; that the bounds hold for them too cannot be said in it.
_AS_TEXT = {
    "type": "string",
    "pattern": r"^\s*[0-9]{1,15}(\.[0-9]{1,15}|/(?!0+(\s|%|$))[0-9]{1,15})?\s*%?\s*$",
}


def form(**bounds: float) -> WithJsonSchema:
    """The JSON schema of an exact number: ``minimum`` and the like are of it."""
    return WithJsonSchema({"anyOf": [{"type": "number", **bounds}, _AS_TEXT]})


#: A fraction; in JSON an integer or a string such as "2/3".
Exact = Annotated[
    Fraction,
    BeforeValidator(exact),
    PlainSerializer(_readable, return_type=int | str, when_used="json"),
    form(minimum=0),
]
Weight = Annotated[Exact, Field(ge=0, le=1_000_000), form(minimum=0, maximum=1_000_000)]
PositiveWeight = Annotated[
    Exact, Field(gt=0, le=1_000_000), form(exclusiveMinimum=0, maximum=1_000_000)
]
Share = Annotated[Exact, Field(ge=0, le=1), form(minimum=0, maximum=1)]


def unique_keys(names: Iterable[str]) -> list[str]:
    """Names made unique: the second "gpt" is "gpt#2", the third "gpt#3"."""
    seen: dict[str, int] = {}
    keys: list[str] = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        keys.append(name if seen[name] == 1 else f"{name}#{seen[name]}")
    if len(set(keys)) < len(keys):
        raise ValueError("names must stay unique when copies are numbered with #2, #3, …")
    return keys
