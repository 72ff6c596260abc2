"""Values made plain JSON, where Python code hands them over."""

from __future__ import annotations

import json
from typing import Any

from pydantic_core import to_jsonable_python

from celery_agents.contracts.base import JsonValue


def plain_json(value: Any) -> JsonValue:
    """``value`` as a plain JSON value: models, dataclasses, dates and tuples are converted.

    Raises:
        ValueError: it has no JSON form (an arbitrary object, NaN, an infinity).
    """
    plain: JsonValue = json.loads(json.dumps(to_jsonable_python(value), allow_nan=False))
    return plain
