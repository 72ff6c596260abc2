"""Results of a server's tools as values that a model may be told."""

from __future__ import annotations

from typing import Any

from agents.tools.calls import ToolError
from celery_agents.contracts.base import JsonValue


def value_of(result: Any) -> JsonValue:
    """The value of a call's result: what is structured, else its text, else its parts.

    Raises:
        ToolError: the tool says that it failed.
    """
    parts = [_part(part) for part in result.content]
    texts = [part for part in parts if isinstance(part, str)]
    if result.is_error:
        raise ToolError("\n".join(texts) or "It failed, and does not say why.")
    others = [part for part in parts if not isinstance(part, str)]
    if result.structured_content is not None:
        # Servers repeat it as text, for clients that know texts alone.
        structured: JsonValue = result.structured_content
        return {"value": structured, "content": [*others]} if others else structured
    if others:
        return parts
    return "\n".join(texts)


def _part(part: Any) -> JsonValue:
    if part.type == "text":
        return str(part.text)
    if part.type in {"image", "audio"}:
        # A model is told in words; the bytes would be text that says nothing to it.
        return {"type": part.type, "mime_type": part.mime_type, "base64_characters": len(part.data)}
    if part.type == "resource_link":
        return {"type": "link", "uri": str(part.uri), "name": part.name}
    held = part.resource
    told: dict[str, JsonValue] = {"type": "resource", "uri": str(held.uri)}
    text = getattr(held, "text", None)
    return {**told, ("text" if text is not None else "mime_type"): text or held.mime_type}
