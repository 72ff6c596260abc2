"""JSON as kombu reads and writes it, with one decoder for all messages.

kombu makes a decoder for each message, since it passes a hook for its own types; that takes as
long as decoding a small one.
"""

from __future__ import annotations

import json
from typing import Any

from kombu.serialization import register
from kombu.utils.json import dumps, object_hook

_DECODER = json.JSONDecoder(object_hook=object_hook)


def loads(text: str | bytes | bytearray | memoryview) -> Any:
    """The value in a JSON text, with kombu's own types."""
    if not isinstance(text, str):
        text = bytes(text).decode()
    return _DECODER.decode(text)


def register_json() -> None:
    """Have kombu use it in this process."""
    register("json", dumps, loads, content_type="application/json", content_encoding="utf-8")
