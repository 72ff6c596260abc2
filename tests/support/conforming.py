"""Tools that the official conformance suite of MCP asks for, as a worker offers them."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Annotated, Any
from uuid import uuid4

from celery import current_app
from pydantic import Field

from app.execution.runtime import runtime_of
from app.journal.stores.posted import PostedAgents
from celery_agents import CallContext, Tool, tool
from deploy.local.servers import LOOPBACK

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
    await asyncio.sleep(3)
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


# -- tools that ask their client


def form(message: str, **properties: Any) -> dict[str, Any]:
    """The parameters of a form, all of whose fields are needed."""
    schema = {"type": "object", "properties": properties, "required": [*properties]}
    return {"message": message, "requestedSchema": schema}


def sampled(words: str, most: int = 100) -> dict[str, Any]:
    """The parameters of a turn of the client's model."""
    return {"messages": [{"role": "user", "content": text(words)}], "maxTokens": most}


ELICIT, SAMPLE, ROOTS = "elicitation/create", "sampling/createMessage", "roots/list"
_TEXT = {"type": "string"}


def _named(told: Any, name: str) -> str:
    return str((told.get("content") or {}).get(name))


@tool(effects="pure", name="test_sampling")
async def ask_model(prompt: str, context: CallContext) -> str:
    """Asks the client's model."""
    told: Any = await context.ask_client("turn", SAMPLE, sampled(prompt))
    return f"LLM response: {told['content'].get('text')}"


@tool(effects="pure", name="test_elicitation")
async def ask_user(message: str, context: CallContext) -> str:
    """Asks the client's user."""
    about = form(message, username=_TEXT, email=_TEXT)
    told: Any = await context.ask_client("user", ELICIT, about)
    return f"User response: action: {told['action']}, content: {told.get('content')}"


@tool(effects="pure", name="test_elicitation_sep1034_defaults")
async def ask_with_defaults(context: CallContext) -> str:
    """Asks with defaults."""
    fields = {
        "name": {"type": "string", "default": "John Doe"},
        "age": {"type": "integer", "default": 30},
        "score": {"type": "number", "default": 95.5},
        "status": {
            "type": "string",
            "enum": ["active", "inactive", "pending"],
            "default": "active",
        },
        "verified": {"type": "boolean", "default": True},
    }
    schema = {"type": "object", "properties": fields, "required": []}
    about: Any = {"message": "Who are you?", "requestedSchema": schema}
    told: Any = await context.ask_client("user", ELICIT, about)
    return f"Elicitation completed: action={told['action']}, content={told.get('content')}"


@tool(effects="pure", name="test_elicitation_sep1330_enums")
async def ask_with_enums(context: CallContext) -> str:
    """Asks for one or some of several."""
    plain = ["option1", "option2", "option3"]
    titled = [{"const": f"value{n}", "title": f"Option {n}"} for n in (1, 2, 3)]
    legacy = {"enum": ["opt1", "opt2", "opt3"], "enumNames": ["Option One", "Two", "Three"]}
    fields = {
        "untitledSingle": {"type": "string", "enum": plain},
        "titledSingle": {"type": "string", "oneOf": titled},
        "legacyEnum": {"type": "string", **legacy},
        "untitledMulti": {"type": "array", "items": {"type": "string", "enum": plain}},
        "titledMulti": {"type": "array", "items": {"anyOf": titled}},
    }
    about: Any = {
        "message": "Which?",
        "requestedSchema": {"type": "object", "properties": fields, "required": []},
    }
    told: Any = await context.ask_client("choice", ELICIT, about)
    return f"Elicitation completed: action={told['action']}, content={told.get('content')}"


_NAME = form("What is your name?", name=_TEXT)


@tool(effects="pure", name="test_input_required_result_elicitation")
async def name_of_user(context: CallContext) -> str:
    """Asks for a name."""
    return f"Hello, {_named(await context.ask_client('user_name', ELICIT, _NAME), 'name')}!"


@tool(effects="pure", name="test_input_required_result_sampling")
async def capital(context: CallContext) -> str:
    """Asks the client's model for a capital."""
    about = sampled("What is the capital of France?")
    told: Any = await context.ask_client("capital_question", SAMPLE, about)
    return str(told["content"].get("text"))


@tool(effects="pure", name="test_input_required_result_list_roots")
async def roots(context: CallContext) -> str:
    """Asks for the client's roots."""
    told: Any = await context.ask_client("client_roots", ROOTS)
    return ", ".join(str(root.get("uri")) for root in told["roots"])


_CONFIRM = form("Go on?", ok={"type": "boolean"})


@tool(effects="pure", name="test_input_required_result_request_state")
async def confirmed(context: CallContext) -> str:
    """Asks whether to go on."""
    await context.ask_client("confirm", ELICIT, _CONFIRM)
    return "state-ok"


@tool(effects="pure", name="test_input_required_result_tampered_state")
async def also_confirmed(context: CallContext) -> str:
    """Asks whether to go on."""
    await context.ask_client("confirm", ELICIT, _CONFIRM)
    return "state-ok"


@tool(effects="pure", name="test_input_required_result_multiple_inputs")
async def several(context: CallContext) -> str:
    """Asks for three things at once."""
    name, greeting, places = await asyncio.gather(
        context.ask_client("user_name", ELICIT, _NAME),
        context.ask_client("greeting", SAMPLE, sampled("Generate a greeting", 50)),
        context.ask_client("client_roots", ROOTS),
    )
    return f"{greeting} {name} {places}"


@tool(effects="pure", name="test_input_required_result_multi_round")
async def one_after_the_other(context: CallContext) -> str:
    """Asks twice."""
    first = await context.ask_client("step1", ELICIT, form("Step 1: your name?", name=_TEXT))
    second = await context.ask_client("step2", ELICIT, form("Step 2: your color?", color=_TEXT))
    return f"{_named(first, 'name')} likes {_named(second, 'color')}"


@tool(effects="pure", name="test_input_required_result_capabilities")
async def whatever_it_can(context: CallContext) -> str:
    """Asks for what the client can be asked alone."""
    if "elicitation" in context.client_asks:
        await context.ask_client("user_name", ELICIT, _NAME)
    if "sampling" in context.client_asks:
        await context.ask_client("greeting", SAMPLE, sampled("Generate a greeting", 50))
    return "Asked."


@tool(effects="pure")
async def context_for_prompt(context: CallContext) -> str:
    """Asks for what a prompt is about."""
    about = form("What context should the prompt use?", context=_TEXT)
    told = await context.ask_client("user_context", ELICIT, about)
    return f"About {_named(told, 'context')}"


@tool(effects="pure", name="test_missing_capability")
async def needs_sampling(context: CallContext) -> str:
    """Needs a client with a model."""
    return str(await context.ask_client("turn", SAMPLE, sampled("Hello")))


@tool(effects="pure", name="test_streaming_elicitation")
async def streamed_form(context: CallContext) -> str:
    """Tells how far it is, and asks."""
    await context.step.progress(progress=1, total=2)
    return str(await context.ask_client("user_name", ELICIT, _NAME))


@tool(effects="pure", name="test_logging_tool")
async def logging_tool(context: CallContext) -> str:
    """Tells what it does."""
    await context.step.progress(message="At it", level="info")
    return "It is told."


@tool(effects="pure")
async def confirm_delete(context: CallContext, filename: str = "x") -> str:
    """Asks before it deletes nothing."""
    about = form(f"Delete {filename}?", confirm={"type": "boolean"})
    told = await context.ask_client("confirm", ELICIT, about)
    return f"deleted: {_named(told, 'confirm')}"


@tool(effects="pure")
async def multi_input(context: CallContext) -> str:
    """Asks two things at once."""
    told = await asyncio.gather(
        context.ask_client("one", ELICIT, form("One?", confirm={"type": "boolean"})),
        context.ask_client("two", ELICIT, form("Two?", confirm={"type": "boolean"})),
    )
    return str(told)


@tool(effects="pure", name="test_tool_with_task")
async def asks_then_lasts(context: CallContext) -> str:
    """Asks, and takes a while then."""
    told = await context.ask_client("user_name", ELICIT, _NAME)
    await asyncio.sleep(3)
    return f"Hello, {_named(told, 'name')}"


# -- tools that change what is offered


@tool(effects="pure", name="test_trigger_tool_change")
def offer_an_agent_more() -> str:
    """Has this worker offer one agent more, as if it was made over the API."""
    runtime = runtime_of(current_app)
    entry = {"kind": "http", "url": f"http://{LOOPBACK}:9/"}
    PostedAgents(runtime.journal.engine).put(f"added_{uuid4().hex[:8]}", entry, "a test")
    runtime.posted.look()
    return "There is one agent more."


@tool(effects="pure", name="test_trigger_prompt_change")
def write_a_prompt_more() -> str:
    """Writes one prompt more into the configuration."""
    with Path(os.environ["AGENTS_CONFIG"]).open("a") as file:
        name = f"mcp.prompts.added_{uuid4().hex[:8]}"
        file.write(f'\n[{name}]\ndescription = "One more."\ntext = "One."\n')
    return "There is one prompt more."


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
[mcp]
stream_s = 2

[agents.conforming]
kind = "tools"
tools = {[f"{__name__}:{name}" for name in NAMES]}
as_tasks = ["failing_job", "confirm_delete", "multi_input"]

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

[mcp.prompts.test_input_required_result_prompt]
description = "Asks its client."
tool = "context_for_prompt"

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
