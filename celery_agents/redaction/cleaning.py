"""JSON values as those may see them who watch: the one way of them into events, pages and logs.

A secret is known by its looks, or by the name under which it stands (the table of names is that of
:mod:`celery_agents.redaction.named`): in members, lists and pairs, and in texts that are JSON.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import islice
from typing import Any

from celery_agents.redaction import LIMIT, redact
from celery_agents.redaction.by_name import hide_by_name
from celery_agents.redaction.named import may_name
from celery_agents.values import JsonValue

#: Characters of a text that is read as JSON; one that is longer is searched as any text.
_JSON_MAX = 50_000
_BEGINS = frozenset({"{", "[", '"'})
#: Items of one value that are looked at in a brief view of it, and levels.
_ITEMS, _LEVELS = 40, 8


def clean(value: JsonValue, *, limit: int = LIMIT) -> JsonValue:
    """A value without secrets, each of its texts cut at ``limit`` characters."""
    return _shown(hide_by_name(value), limit)


def clean_text(text: str, *, limit: int = LIMIT) -> str:
    """A text without secrets, cut; where it is JSON, without those that its names tell of."""
    return redact(_hidden_in(text), limit=limit)


def hidden(value: JsonValue) -> JsonValue:
    """A value, uncut, without what names tell of; looks are left to whoever wrote its texts."""
    return _texts(hide_by_name(value))


def brief(value: Any, name: str = "") -> JsonValue:
    """The begin of a value, which may stand under a name, without what names tell of.

    No more of it is looked at than can be shown.
    """
    if not name and isinstance(value, str):
        return _hidden_in(value)  # no name tells of it
    told = hide_by_name({name: _begin(value, _LEVELS)})
    return told[name] if isinstance(told, dict) else told


def _begin(value: Any, levels: int) -> Any:
    if isinstance(value, Mapping):
        some = islice(value.items(), _ITEMS if levels else 0)
        return {str(k): _begin(v, levels - 1) for k, v in some}
    if isinstance(value, list | tuple):
        return [_begin(v, levels - 1) for v in value[: _ITEMS if levels else 0]]
    return _hidden_in(value) if isinstance(value, str) else value


def _shown(value: JsonValue, limit: int) -> JsonValue:
    match value:
        case str():
            return clean_text(value, limit=limit)
        case dict():
            return {redact(k): _shown(v, limit) for k, v in value.items()}
        case list() | tuple():
            return [_shown(v, limit) for v in value]
        case _:
            return value


def _hidden_in(text: str) -> str:
    """A text that is JSON without what its names tell of; one that tells of nothing as it is."""
    if len(text) > _JSON_MAX or text.lstrip()[:1] not in _BEGINS or not may_name(text):
        return text
    try:
        value = json.loads(text)
        inner = hidden(value)
    except (ValueError, RecursionError):
        return text
    return text if inner == value else json.dumps(inner, ensure_ascii=False)


def _texts(value: JsonValue) -> JsonValue:
    """The same, with the texts in it that are JSON themselves."""
    match value:
        case str():
            return _hidden_in(value)
        case dict():
            return {k: _texts(v) for k, v in value.items()}
        case list():
            return [_texts(v) for v in value]
        case _:
            return value
