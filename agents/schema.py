"""JSON Schema of the form that an answer must have.

Only the keywords that model providers enforce in structured output are checked here: ``type``,
``enum``, ``const``, ``properties``, ``required``, ``additionalProperties: false``, ``items``,
``anyOf``/``oneOf`` (as any), ``minimum``, ``maximum`` and local ``$ref``. Others are let pass.
How a value is held against them stands in :mod:`agents.checking`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pydantic import JsonValue

from agents.checking import Check
from celery_agents.errors import InvalidPayloadError

Schema = dict[str, Any]
_ANSWERS = "The answer schema"


def ballot_schema(choices: Sequence[str] | None, ballot: str = "option") -> Schema:
    """The schema of a ballot: one option, or a list of them under the name of its kind.

    The reason comes first: models answer better after reasoning.
    """
    one: Schema = {"type": "string"} if choices is None else {"type": "string", "enum": [*choices]}
    return {
        "type": "object",
        "properties": {
            "reason": {"type": "string", "description": "Why, in one or two sentences."},
            ballot: one if ballot == "option" else {"type": "array", "items": one},
            "confidence": {
                "type": "number",
                "minimum": 0,
                "maximum": 1,
                "description": "Probability, from 0 to 1, that it is right.",
            },
        },
        "required": ["reason", ballot, "confidence"],
        "additionalProperties": False,
    }


def problem(value: JsonValue, schema: Schema, *, of: str = _ANSWERS) -> str | None:
    """The first reason why ``value`` does not have the form of ``schema``, or None.

    ``of`` names the schema to whoever wrote it.

    Raises:
        InvalidPayloadError: the schema itself is malformed, or the two are too much for one check.
    """
    with _well_formed(of):
        return Check(schema).problem(value)


def is_strict(schema: Any) -> bool:
    """Return whether OpenAI's strict mode takes it: closed objects, all properties required.

    Raises:
        InvalidPayloadError: the schema itself is malformed.
    """
    with _well_formed(_ANSWERS):
        return _is_strict(schema)


@contextmanager
def _well_formed(of: str) -> Iterator[None]:
    """Report errors in a caller's unchecked schema as the caller's mistake."""
    try:
        yield
    except (TypeError, ValueError, AttributeError, RecursionError) as error:
        message = f"{of} is malformed: {type(error).__name__}: {error}"
        raise InvalidPayloadError(message) from None


def _is_strict(schema: Any) -> bool:
    if isinstance(schema, list):
        return all(_is_strict(item) for item in schema)
    if not isinstance(schema, dict):
        return True
    if schema.get("type") == "object" or "properties" in schema:
        closed = schema.get("additionalProperties") is False
        if not closed or set(schema.get("properties", ())) - set(schema.get("required", ())):
            return False
    return all(_is_strict(part) for part in schema.values())
