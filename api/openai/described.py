"""Messages and items as the description of ``/v1`` has them: what ``conversing`` reads.

They are read as they come, so that a mistake is told as OpenAI's APIs tell it.
"""

from __future__ import annotations

from typing import Any

_TEXT: dict[str, Any] = {"type": "string"}
#: An address, or the data themselves.
_PLACE = {
    "type": "string",
    "pattern": r"^(https?://[^\s/]+(/\S*)?|data:[a-z]+/[a-z0-9.+-]+;base64,)",
}


def _part(kinds: tuple[str, ...], *wanted: str, **fields: Any) -> dict[str, Any]:
    """A part of a content, with fields that it has to have."""
    return {
        "type": "object",
        "properties": {"type": {"enum": [*kinds]}, **fields},
        "required": ["type", *wanted],
    }


_SPOKEN = (
    _part(("text", "input_text", "output_text"), "text", text=_TEXT),
    _part(("refusal",), "refusal", refusal=_TEXT),
)
_ATTACHED = (
    _part(
        ("image_url",),
        "image_url",
        image_url={"type": "object", "properties": {"url": _PLACE}, "required": ["url"]},
    ),
    _part(("input_image",), "image_url", image_url=_PLACE),
    _part(
        ("file",),
        "file",
        file={
            "type": "object",
            "properties": {"file_data": _PLACE, "filename": _TEXT},
            "required": ["file_data"],
        },
    ),
    _part(("input_file",), "file_url", file_url=_PLACE, filename=_TEXT),
    _part(("input_file",), "file_data", file_data=_PLACE, filename=_TEXT),
)
_CONTENT = {"anyOf": [_TEXT, {"type": "array", "items": {"anyOf": [*_SPOKEN, *_ATTACHED]}}]}
_SAID = {"anyOf": [_TEXT, {"type": "array", "items": {"anyOf": [*_SPOKEN]}}, {"type": "null"}]}
_CALL = {
    "type": "object",
    "properties": {
        "id": {"type": "string", "minLength": 1},
        "type": {"const": "function"},
        "function": {
            "type": "object",
            "properties": {"name": {"type": "string", "minLength": 1}, "arguments": _TEXT},
            "required": ["name", "arguments"],
        },
    },
    "required": ["id", "function"],
}


def _message(roles: tuple[str, ...], *wanted: str, **fields: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"role": {"enum": [*roles]}, **fields},
        "required": ["role", *wanted],
    }


MESSAGE: dict[str, Any] = {
    "anyOf": [
        _message(("system", "developer"), "content", content=_SAID),
        _message(("user",), "content", content=_CONTENT),
        _message(("assistant",), content=_SAID, tool_calls={"type": "array", "items": _CALL}),
        _message(
            ("tool",),
            *("content", "tool_call_id"),
            content=_SAID,
            tool_call_id={"type": "string", "minLength": 1},
        ),
    ]
}
MESSAGES = {"type": "array", "items": MESSAGE, "minItems": 1, "maxItems": 10_000}


_ITEMS = (
    *MESSAGE["anyOf"][:3],
    _part(
        ("function_call",),
        *("call_id", "name", "arguments"),
        call_id=_TEXT,
        name=_TEXT,
        arguments=_TEXT,
    ),
    _part(("function_call_output",), "call_id", "output", call_id=_TEXT, output=_TEXT),
    _part(("reasoning", "mcp_call", "mcp_list_tools")),
)
INPUT = {
    "anyOf": [
        {"type": "string", "minLength": 1},
        {"type": "array", "items": {"anyOf": [*_ITEMS]}, "minItems": 1},
    ]
}
