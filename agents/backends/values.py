"""JSON values at the borders: made plain, digested, and read from what others wrote."""

from __future__ import annotations

import hashlib
import json
from typing import Any, NoReturn

from pydantic import JsonValue
from pydantic_core import to_jsonable_python

from celery_agents.errors import BadAnswerError, InvalidPayloadError
from celery_agents.values import has_halves, problem


def plain_json(value: Any) -> JsonValue:
    """``value`` as a plain JSON value: models, dataclasses, dates and tuples are converted.

    Raises:
        ValueError: it has no JSON form (an arbitrary object, NaN, an infinity).
    """
    try:
        plain: JsonValue = json.loads(json.dumps(to_jsonable_python(value), allow_nan=False))
    except RecursionError:
        raise ValueError("too many levels of lists and objects") from None
    if (wrong := problem(plain)) is not None:
        raise ValueError(wrong)
    return plain


def digest(value: Any) -> str:
    """A short stable digest (128 bits of SHA-256) of a JSON value, whatever its key order."""
    text = json.dumps(to_jsonable_python(value), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def text_of(value: JsonValue) -> str:
    """A value as a model reads it: text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def parse_json(text: str | bytes, *, who: str) -> JsonValue:
    """Read JSON that ``who`` wrote; one Markdown code fence around it is forgiven.

    Raises:
        BadAnswerError: it is not JSON (NaN and infinities are not), or no value that can be kept.
    """
    try:
        plain = (text.decode() if isinstance(text, bytes) else text).strip()
        if plain.startswith("```") and plain.endswith("```") and "\n" in plain:
            plain = plain[plain.index("\n") : -3]
        value: JsonValue = json.loads(plain, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise BadAnswerError(f"{who} did not answer with JSON: {shown(text)}") from None
    if (wrong := problem(value)) is not None:
        raise BadAnswerError(f"{who} answered with what cannot be kept: {wrong}.")
    return value


def sendable(text: str) -> str:
    """The same text, if it can be sent to another host.

    Raises:
        InvalidPayloadError: half of a surrogate pair is in it, which no UTF-8 can hold.
    """
    if has_halves(text):
        raise InvalidPayloadError(
            "The input holds half of a surrogate pair (an emoji that was cut?). Only functions and "
            "Celery tasks can get it; nothing was sent."
        )
    return text


def shown(text: object, limit: int = 200) -> str:
    """The head of an answer as an error message quotes it."""
    plain = text.decode(errors="replace") if isinstance(text, bytes) else str(text)
    return repr(plain if len(plain) <= limit else f"{plain[:limit]}…")


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)
