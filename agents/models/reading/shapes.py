"""Small readers of JSON that may have another shape than its protocol says. They never fail."""

from __future__ import annotations

import json
from typing import Any

from celery_agents.contracts.base import JsonValue
from celery_agents.values import DEPTH, problem

#: Levels of arguments: of those that can be kept a reply puts some around them.
_DEPTH = DEPTH - 20
#: Parts of a message's content that are no part of the answer.
_THOUGHTS = frozenset({"thinking", "reasoning", "redacted_thinking"})


def mapping(value: Any) -> dict[str, Any]:
    """An object; anything else is an empty one."""
    return value if isinstance(value, dict) else {}


def listed(value: Any) -> list[Any]:
    """A list, without nulls; one object alone is a list of one."""
    if isinstance(value, dict):
        return [value]
    return [item for item in value if item is not None] if isinstance(value, list) else []


def word(value: Any) -> str:
    """A string; anything else is an empty one."""
    return value if isinstance(value, str) else ""


def first_of(fields: dict[str, Any], *names: str) -> Any:
    """The first of these fields that is not null; None when none is."""
    return next((found for name in names if (found := fields.get(name)) is not None), None)


def text_in(content: Any) -> str:
    """The text of a message's content: a string, parts, or the answer as a JSON object."""
    if isinstance(content, list):
        return "".join(text_in(part) for part in content)
    if not isinstance(content, dict):
        return word(content)
    if content.get("type") in _THOUGHTS or content.get("thought") is True:
        return ""
    text = content.get("text")
    if isinstance(text, str):
        return text
    if isinstance(text, dict):
        return word(text.get("value"))
    return "" if "type" in content else json.dumps(content, ensure_ascii=False)


def count(value: Any) -> int | None:
    """A count as a whole number; None for what is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if value >= 0 and value == int(value) else None


def arguments_text(value: Any) -> str:
    """The arguments of a tool call, or a piece of them, as JSON text."""
    if value is None:
        return ""
    try:
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    except RecursionError:
        return "more levels of lists and objects than can be read"


def arguments_of(value: Any) -> JsonValue:
    """The arguments of a tool call: an object, or its text, or that text as a JSON string.

    None at all are an empty object, also as null or an empty list. What cannot be read is given
    back as it is, for the tool to complain about.
    """
    text = arguments_text(value).strip().removeprefix("\ufeff")
    if text.startswith("{}") and len(text) > 2:  # noqa: PLR2004 - some begin with a placeholder
        text = text[2:]
    try:
        found: JsonValue = json.loads(text or "{}")
        if isinstance(found, str):
            found = json.loads(found or "{}")
    except (ValueError, RecursionError):
        return arguments_text(value)
    if problem(found, depth=_DEPTH) is not None:  # it could not be kept
        return arguments_text(value)
    return {} if found is None or found == [] else found
