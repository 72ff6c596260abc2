"""Keywords of JSON Schema that bound a text, a number or a list, as pydantic writes them.

A format or a pattern that is not known here, or that Rust's regular expressions do not take, bounds
nothing. Those take no exponential time, whoever wrote the pattern.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from pydantic_core import SchemaError, SchemaValidator, ValidationError, core_schema

#: Steps (of :mod:`agents.checking`) that holding a text against a pattern may take, beside those
#: of its characters: a pattern is compiled.
PATTERN_STEPS = 2_000

_FORMATS: dict[str, Callable[[], SchemaValidator]] = {
    "date": lambda: SchemaValidator(core_schema.date_schema()),
    "date-time": lambda: SchemaValidator(core_schema.datetime_schema()),
    "time": lambda: SchemaValidator(core_schema.time_schema()),
    "duration": lambda: SchemaValidator(core_schema.timedelta_schema()),
    "uuid": lambda: SchemaValidator(core_schema.uuid_schema()),
    "uri": lambda: SchemaValidator(core_schema.url_schema()),
}


def beyond(value: Any, schema: dict[str, Any]) -> str | None:
    """The first bound that a value does not keep, or None."""
    if isinstance(value, str):
        return _counted(len(value), schema, "Length", "characters") or _read(value, schema)
    if isinstance(value, list):
        return _counted(len(value), schema, "Items", "items")
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _numbered(value, schema)
    return None


def _counted(found: int, schema: dict[str, Any], keyword: str, of: str) -> str | None:
    least, most = schema.get(f"min{keyword}"), schema.get(f"max{keyword}")
    if least is not None and found < least:
        return f"has {found:,} {of}, fewer than {least:,}"
    if most is not None and found > most:
        return f"has {found:,} {of}, more than {most:,}"
    return None


def _numbered(value: float, schema: dict[str, Any]) -> str | None:
    for keyword, fits, told in (
        ("minimum", operator.ge, "at least"),
        ("maximum", operator.le, "at most"),
        ("exclusiveMinimum", operator.gt, "more than"),
        ("exclusiveMaximum", operator.lt, "less than"),
    ):
        if keyword in schema and not fits(value, schema[keyword]):
            return f"is not {told} {schema[keyword]}"
    return _multiple(value, schema.get("multipleOf"))


def _multiple(value: float, of: float | None) -> str | None:
    if not of:
        return None
    try:
        times = value / of
        fits = value % of == 0 or abs(times - round(times)) < _NEAR
    except (OverflowError, ValueError):  # too large to tell
        return None
    return None if fits else f"is no multiple of {of}"


#: As exactly as a decimal fraction can be told by a float.
_NEAR = 1e-9


def _read(text: str, schema: dict[str, Any]) -> str | None:
    pattern, named = schema.get("pattern"), schema.get("format")
    if pattern is not None and not _fits(_pattern(pattern), text):
        return f"does not match {pattern[:_SHOWN]!r}"
    if named in _FORMATS and not _fits(_format(named), text):
        return f"is no {named}"
    return None


_SHOWN = 200


def _fits(validator: SchemaValidator | None, text: str) -> bool:
    try:
        return validator is None or validator.validate_python(text) is not None
    except ValidationError:
        return False


@lru_cache(maxsize=1024)
def _pattern(pattern: str) -> SchemaValidator | None:
    try:
        return SchemaValidator(core_schema.str_schema(pattern=pattern))
    except SchemaError:
        return None


@lru_cache(maxsize=len(_FORMATS))
def _format(name: str) -> SchemaValidator:
    return _FORMATS[name]()
