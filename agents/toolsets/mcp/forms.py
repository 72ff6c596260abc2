"""Forms that a server asks for in the middle of a call (elicitation)."""

from __future__ import annotations

from typing import Any

from mcp.client.session import ElicitationFnT
from mcp.types import ElicitResult

from agents.toolsets.mcp.entries import McpTools


def answering(entry: McpTools) -> ElicitationFnT | None:
    """The filler of forms, as an entry says; None: nobody is, and the server is told so."""
    return _by_defaults if entry.forms == "defaults" else None


async def _by_defaults(context: Any, params: Any) -> ElicitResult:  # noqa: ARG001 - as the SDK calls it
    """Give a form its own defaults; decline one that requires more, and all that is no form."""
    schema = getattr(params, "requested_schema", None)
    if schema is None:
        return ElicitResult(action="decline")
    fields: dict[str, Any] = schema.get("properties", {})
    content = {name: told["default"] for name, told in fields.items() if "default" in told}
    if {*schema.get("required", ())} - content.keys():
        return ElicitResult(action="decline")
    return ElicitResult(action="accept", content=content)
