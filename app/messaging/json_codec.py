"""JSON as kombu reads and writes it, with one decoder for all messages.

kombu makes a decoder for each message, since it passes a hook for its own types; that takes as
long as decoding a small one, and so does calling the hook for each object of a message that holds
none of those types. And it does not read a message at all in which some object looks like
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
_PLAIN = json.JSONDecoder(parse_constant=_constant)
#: One of these stands in a text that holds a type of kombu's; its key may be written by escapes.
_SIGNS = ("__type__", "\\u")


def loads(text: str | bytes | bytearray | memoryview) -> Any:
    """The value in a JSON text, with kombu's own types."""
    if not isinstance(text, str):
        text = bytes(text).decode()
    typed = _SIGNS[0] in text or _SIGNS[1] in text
    return (_DECODER if typed else _PLAIN).decode(text)


def register_json() -> None:
    """Have kombu use it in this process."""
    register("json", dumps, loads, content_type="application/json", content_encoding="utf-8")
