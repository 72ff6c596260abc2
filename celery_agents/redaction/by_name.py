"""JSON values without what is a secret by its name alone, however deep it stands below that."""

from __future__ import annotations

import re

from celery_agents.redaction import MOST, redact
from celery_agents.redaction.judging import HIDDEN, is_placeholder, is_random, is_word
from celery_agents.redaction.named import NameKind, kind_of
from celery_agents.values import JsonValue

#: Where a name stands as a value beside its own: ``{"name": "password", "value": …}``.
_NAMES = frozenset({"name", "key", "field", "header", "parameter", "param", "variable", "label"})
_VALUES = frozenset({"value", "values", "val", "content", "text", "data"})
_NAME = re.compile(r"-{0,2}[\w.-]{1,80}")
_COUNTS = re.compile(r"(?i)tokens$")


def hide_by_name(value: JsonValue, name: str = "") -> JsonValue:
    """A value without secrets; ``name`` is of one that it is itself, or stands below.

    Whether something is so, or is not there, is no secret, and neither is a number of tokens.
    """
    match value:
        case dict():
            return _members(value, name)
        case list() | tuple():
            return _items(value, name)
        case None | bool():
            return value
        case _:
            return HIDDEN if name and _is_secret(name, value) else value


def _members(value: dict[str, JsonValue], name: str) -> dict[str, JsonValue]:
    told = {k: v for k, v in value.items() if k.lower() in _NAMES and isinstance(v, str)}
    beside = next((v for v in told.values() if _names(v)), name)
    found: dict[str, JsonValue] = {}
    hidden = 0
    for key, one in value.items():
        shown = _key(key, name)
        while shown in found and shown != key:
            hidden += 1  # goes on from the last one: else the time would grow by the square
            shown = f"{HIDDEN}{hidden}"
        if _names(key) and not (key in told and _names(str(one))):
            found[shown] = hide_by_name(one, key)
        elif key.lower() in _VALUES:
            found[shown] = hide_by_name(one, beside)
        else:
            found[shown] = one if key in told and not name else hide_by_name(one, name)
    return found


def _items(items: list[JsonValue] | tuple[JsonValue, ...], name: str) -> list[JsonValue]:
    """Items, of which one that names a secret tells of the next one, in a pair or as an option."""
    found, before = list[JsonValue](), ""
    for one in items:
        found.append(hide_by_name(one, before or name))
        is_name = isinstance(one, str) and (len(items) == len(("name", "value")) or one[:1] == "-")
        before = one if is_name and not before and isinstance(one, str) and _names(one) else ""
    return found


def _names(name: str) -> bool:
    return _NAME.fullmatch(name) is not None and kind_of(name) is not None


def _key(key: str, name: str) -> str:
    """A key, which below a secret's name may be one itself."""
    sure = name and kind_of(name) is NameKind.PASSWORD
    return HIDDEN if (name and is_random(key)) or (sure and not is_word(key)) else key


def _is_secret(name: str, value: str | float) -> bool:
    kind, text = kind_of(name), str(value)
    if kind is NameKind.MAYBE and len(text.split(maxsplit=1)) > 1:
        return False  # prose, or code: their secrets are found by their looks
    if kind is None or kind is NameKind.MAYBE:
        return text not in redact(f"{name.lstrip('-')}={text}", limit=MOST)
    if isinstance(value, str):
        return bool(text) and not (is_placeholder(text) or is_word(text))
    return _COUNTS.search(name) is None
