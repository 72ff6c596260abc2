"""JSON values as those may see them who watch."""

from __future__ import annotations

from celery_agents.redaction import LIMIT, redact
from celery_agents.values import JsonValue


def clean(value: JsonValue, *, limit: int = LIMIT) -> JsonValue:
    """A value without secrets, each of its texts cut at ``limit`` characters."""
    match value:
        case str():
            return redact(value, limit=limit)
        case dict():
            return {redact(k): clean(v, limit=limit) for k, v in value.items()}
        case list() | tuple():
            return [clean(v, limit=limit) for v in value]
        case _:
            return value
