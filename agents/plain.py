"""Values made plain JSON, where Python code hands them over."""

from __future__ import annotations

import json
from typing import Any

from pydantic_core import to_jsonable_python

from celery_agents.contracts.base import JsonValue
from celery_agents.values import problem


def plain_json(value: Any) -> JsonValue:
    """``value`` as a plain JSON value: models, dataclasses, dates and tuples are converted.

    Raises:
        ValueError: it has no JSON form (an arbitrary object, NaN, an infinity), or cannot be kept.
    """
    try:
        plain: JsonValue = json.loads(json.dumps(to_jsonable_python(value), allow_nan=False))
    except RecursionError:
        raise ValueError("too many levels of lists and objects") from None
    if (wrong := problem(plain)) is not None:
        raise ValueError(wrong)
    return plain
