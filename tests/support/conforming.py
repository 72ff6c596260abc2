"""Tools that the official conformance suite of MCP asks for, as a worker offers them."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from pydantic import Field

from celery_agents import CallContext, Tool, tool

#: A red pixel, and a hundredth of a second of silence.
PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGP4z8DwHwAFAAH/iZk9"
    "HQAAAABJRU5ErkJggg=="
)
SILENCE = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQAAAAA="
_IMAGE = {"type": "image", "data": PIXEL, "mimeType": "image/png"}


def text(told: str) -> dict[str, Any]:
    """A block of text."""
    return {"type": "text", "text": told}


def embedded(uri: str, kind: str, told: str) -> dict[str, Any]:
    """A resource that stands in a result."""
    return {"type": "resource", "resource": {"uri": uri, "mimeType": kind, "text": told}}


@tool(effects="pure")
def answer() -> int:
    """Answers; the suite tries the first tool by name where it does not matter which."""
    return 42


@tool(effects="pure", name="test_simple_text")
def simple_text() -> str:
    """Says something simple."""
    return "This is a simple text response for testing."


@tool(effects="pure", name="test_image_content")
def image_content() -> dict[str, Any]:
    """Gives a picture."""
    return {"content": [_IMAGE]}


@tool(effects="pure", name="test_audio_content")
def audio_content() -> dict[str, Any]:
    """Gives a sound."""
    return {"content": [{"type": "audio", "data": SILENCE, "mimeType": "audio/wav"}]}


@tool(effects="pure", name="test_embedded_resource")
def embedded_resource() -> dict[str, Any]:
    """Gives a resource."""
    told = "This is an embedded resource content."
    return {"content": [embedded("test://embedded-resource", "text/plain", told)]}


@tool(effects="pure", name="test_multiple_content_types")
def multiple_content_types() -> dict[str, Any]:
    """Gives a text, a picture and a resource."""
    data = embedded(
        "test://mixed-content-resource", "application/json", '{"test":"data","value":123}'
    )
    return {"content": [text("Multiple content types test:"), _IMAGE, data]}


@tool(effects="pure", name="test_error_handling")
def error_handling() -> str:
    """Fails."""
    raise ValueError("This tool intentionally returns an error for testing")


@tool(effects="pure", name="test_tool_with_progress")
async def tool_with_progress(context: CallContext) -> str:
    """Tells how far it is."""
    for done in (0, 50, 100):
        await context.step.progress(progress=done, total=100)
        await asyncio.sleep(0.05)
    return "All of it is done."


@tool(effects="pure", name="test_tool_with_logging")
async def tool_with_logging(context: CallContext) -> str:
    """Tells what it does."""
    for told in ("Tool execution started", "Tool processing data", "Tool execution completed"):
        await context.step.progress(message=told, level="info")
        await asyncio.sleep(0.05)
    return "It is told."


@tool(effects="pure", name="test_reconnection")
async def reconnection() -> str:
    """Takes a moment."""
    await asyncio.sleep(0.2)
    return "Reconnected."


@tool(effects="pure")
def greet(name: str) -> str:
    """Greets somebody."""
    return f"Hello, {name}!"


@tool(effects="idempotent")
async def slow_compute(seconds: float = 0, label: str = "") -> str:
    """Takes its time."""
    await asyncio.sleep(seconds)
    return f"done {label}"


@tool(effects="pure")
async def failing_job() -> str:
    """Fails after a while."""
    await asyncio.sleep(1)
    raise ValueError("it failed")


@tool(effects="pure", name="test_custom_headers")
def custom_headers(
    region: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Region"})] = "",
) -> str:
    """Says which region it was told."""
    return f"region {region}"


@tool(effects="pure")
def json_schema_2020_12_tool(name: str | None = None, address: Any = None) -> str:
    """Has a schema with much in it."""
    return f"{name} {address}"


json_schema_2020_12_tool.parameters = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}
NAMES = [name for name, found in globals().items() if isinstance(found, Tool)]
CONFIG = f"""
[agents.conforming]
kind = "tools"
tools = {[f"{__name__}:{name}" for name in NAMES]}
as_tasks = ["failing_job"]

[agents.protocol_error_job]
kind = "scripted"
replies = [{{ sleep_s = 1, error = "configuration", message = "panic" }}]

[mcp.resources.static-text]
uri = "test://static-text"
text = "This is the content of the static text resource."

[mcp.resources.static-binary]
uri = "test://static-binary"
mime_type = "image/png"
blob = "{PIXEL}"

[mcp.resources.watched]
uri = "test://watched-resource"
text = "Watched."

[mcp.resources.template]
uri = "test://template/{{id}}/data"
mime_type = "application/json"
text = '{{"id":"{{id}}","templateTest":true,"data":"Data for ID: {{id}}"}}'

[mcp.resources.greeting]
uri = "test://greeting/{{name}}"
tool = "greet"

[mcp.prompts.made_by_a_tool]
description = "Greets somebody."
arguments = {{ name = {{}} }}
tool = "greet"

[mcp.prompts.test_simple_prompt]
description = "Simple."
text = "This is a simple prompt for testing."

[mcp.prompts.test_prompt_with_arguments]
description = "With arguments."
arguments = {{ arg1 = {{ values = ["paris", "park", "party"] }}, arg2 = {{}} }}
text = "Prompt with arguments: arg1='{{arg1}}', arg2='{{arg2}}'"

[mcp.prompts.test_prompt_with_embedded_resource]
description = "With a resource."
arguments = {{ resourceUri = {{}} }}

[[mcp.prompts.test_prompt_with_embedded_resource.messages]]
[mcp.prompts.test_prompt_with_embedded_resource.messages.content]
type = "resource"

[mcp.prompts.test_prompt_with_embedded_resource.messages.content.resource]
uri = "{{resourceUri}}"
mimeType = "text/plain"
text = "Embedded resource content for testing."

[[mcp.prompts.test_prompt_with_embedded_resource.messages]]
text = "Please process the embedded resource above."

[mcp.prompts.test_prompt_with_image]
description = "With a picture."

[[mcp.prompts.test_prompt_with_image.messages]]
content = {{ type = "image", data = "{PIXEL}", mimeType = "image/png" }}

[[mcp.prompts.test_prompt_with_image.messages]]
text = "Please analyze the image above."
"""
