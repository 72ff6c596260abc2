"""Values made plain JSON, where Python code hands them over."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from math import isfinite
from typing import Any

from pydantic_core import to_jsonable_python

from celery_agents.contracts.base import JsonValue
from celery_agents.values import DEPTH, TAG, problem


def plain_json(value: Any) -> JsonValue:
    """``value`` as a plain JSON value: models, dataclasses, dates and tuples are converted.

    Raises:
        ValueError: it has no JSON form (an arbitrary object, an iterator, NaN, an infinity), or
            cannot be kept.
    """
    if _is_told_plainly(value, DEPTH):
        return value  # type: ignore[no-any-return]  # looked at
    if not _stays(value) and _has_iterator(value):
        raise ValueError("an iterator is no JSON value: it may have no end; give a list")
    try:
        plain: JsonValue = value if _stays(value) else _converted(value)
    except RecursionError:
        raise ValueError("too many levels of lists and objects") from None
    if (wrong := problem(plain)) is not None:
        raise ValueError(wrong)
    return plain


def _stays(value: Any) -> bool:
    """Return whether it is plain, as most answers are, seen without writing it."""
    kind = type(value)
    if kind is str:
        return bool(value.isascii())  # in others two halves may become one character
    return value is None or kind is bool or (kind is int and value.bit_length() <= _WORD_BITS)


_WORD_BITS = 64


def _is_told_plainly(value: Any, depth: int) -> bool:
    """Return whether it would be the same once it is written and read.

    Most results are small, and a look at their parts takes less time than that.
    """
    kind = type(value)
    if kind is str:
        return bool(value.isascii())
    if kind is dict:
        for key in value:
            if type(key) is not str or not key.isascii():
                return False
        if len(value) == len(TAG) and value.keys() == TAG:
            return False
        return depth > 0 and _are_told_plainly(value.values(), depth - 1)
    if kind is list:
        return depth > 0 and _are_told_plainly(value, depth - 1)
    return isfinite(value) if kind is float else _stays(value)


def _are_told_plainly(parts: Iterable[Any], depth: int) -> bool:
    for part in parts:  # texts and numbers, as most are, without a call for each
        kind = type(part)
        if kind is str:
            if not part.isascii():
                return False
        elif kind is float:
            if not isfinite(part):
                return False
        elif not _is_told_plainly(part, depth):
            return False
    return True


def _has_iterator(value: Any) -> bool:
    """Return whether there is one, where it would be read to its end; each container once."""
    seen, left = set[int](), [value]
    while left:
        one = left.pop()
        if isinstance(one, Iterator):
            return True
        if isinstance(one, dict | list | tuple) and id(one) not in seen:
            seen.add(id(one))
            left.extend(one.values() if isinstance(one, dict) else one)
    return False


def _converted(value: Any) -> JsonValue:
    told: JsonValue = json.loads(json.dumps(to_jsonable_python(value), allow_nan=False))
    return told
