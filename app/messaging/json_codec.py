"""JSON as kombu reads and writes it, with one decoder for all messages.

kombu makes a decoder for each message, since it passes a hook for its own types; that takes as
long as decoding a small one. And it does not read a message at all in which some object looks like
a type that it does not know: its caller would wait for ever. Here such a place is a ``NotJson``,
as NaN is, which the payload's contract refuses with an error that the caller gets.
"""

from __future__ import annotations

import json
from typing import Any

from kombu.serialization import register
from kombu.utils.json import dumps, object_hook

from celery_agents.values import TAG, NotJson


def _object(found: dict[str, Any]) -> Any:
    if found.keys() != TAG:
        return found
    try:
        return object_hook(found)
    except Exception:  # noqa: BLE001 - whatever one of the types' own readers raises
        return NotJson("an object of just __type__ and __value__", found)


def _constant(written: str) -> NotJson:
    return NotJson("NaN" if written == "NaN" else "an infinity", float(written))


_DECODER = json.JSONDecoder(object_hook=_object, parse_constant=_constant)


def loads(text: str | bytes | bytearray | memoryview) -> Any:
    """The value in a JSON text, with kombu's own types."""
    if not isinstance(text, str):
        text = bytes(text).decode()
    return _DECODER.decode(text)


def register_json() -> None:
    """Have kombu use it in this process."""
    register("json", dumps, loads, content_type="application/json", content_encoding="utf-8")
