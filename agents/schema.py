"""JSON Schema of the form that an answer must have.

Checked here are ``type``, ``enum``, ``const``, ``properties``, ``required``,
``additionalProperties``, ``items``, ``prefixItems``, ``anyOf``/``oneOf`` (as any), local ``$ref``,
and the bounds of :mod:`agents.keywords`: what pydantic writes for a model. Others are let pass.
How a value is held against them stands in :mod:`agents.checking`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pydantic import JsonValue

from agents.checking import Check
from celery_agents.contracts.schema import ANSWER, is_object
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


def problem(
    value: JsonValue, schema: Schema, *, what: str = "the answer", of: str = _ANSWERS
) -> str | None:
    """The first reason why ``value`` does not have the form of ``schema``, or None.

    ``what`` names the value in it, ``of`` the schema to whoever wrote it.

    Raises:
        InvalidPayloadError: the schema itself is malformed, or the two are too much for one check.
    """
    with well_formed(of):
        return Check(schema, what=what).problem(value)


def answer_of(value: JsonValue, schema: Schema) -> tuple[JsonValue, str | None]:
    """The answer that a model gave, and the first reason why it has not the form, or None.

    Unless the schema is that of an object the answer stands in one (``as_object``); a model that
    leaves that out is understood too.

    Raises:
        InvalidPayloadError: as of :func:`problem`.
    """
    inside = not is_object(schema) and isinstance(value, dict) and value.keys() == {ANSWER}
    if not inside:
        return value, problem(value, schema)
    inner: JsonValue = value[ANSWER]  # type: ignore[index, call-overload]
    if (wrong := problem(inner, schema)) is not None and problem(value, schema) is None:
        return value, None
    return inner, wrong


@contextmanager
def well_formed(of: str = _ANSWERS) -> Iterator[None]:
    """Report errors in a caller's unchecked schema as the caller's mistake."""
    try:
        yield
    except (TypeError, ValueError, AttributeError, RecursionError) as error:
        message = f"{of} is malformed: {type(error).__name__}: {error}"
        raise InvalidPayloadError(message) from None
