"""Agents and panels as tools: their names, descriptions and schemas."""

from __future__ import annotations

import hashlib
import re
from typing import Annotated, Any

from mcp import types
from pydantic import Field

from api.mcp.callers import Caller
from api.openai.catalog import OfferedModel
from celery_agents.contracts.base import Contract, JsonValue, Name
from celery_agents.visible import visible

#: Names that all clients and models take.
_LEGAL = re.compile(r"[A-Za-z0-9_-]{1,64}")
_KEPT, _DIGEST = 55, 8
#: Tools of one page, and characters of a description.
PAGE, _DESCRIPTION_MAX = 200, 2_000


class AgentArguments(Contract):
    """Arguments of a tool that is an agent."""

    input: JsonValue = None
    instructions: Annotated[str | None, Field(max_length=100_000)] = None
    #: A conversation that goes on.
    session: Name | None = None


class PanelArguments(Contract):
    """Arguments of a tool that is a panel."""

    input: JsonValue = None
    instructions: Annotated[str | None, Field(max_length=100_000)] = None


_INPUT = {"type": "string", "description": "What is asked, with all that is to be known for it."}
_INSTRUCTIONS = {"type": "string", "description": "How to answer, beside the agent's own."}
_SESSION = {
    "type": "string",
    "description": "The name of a conversation that goes on: what was said in it before is known.",
}


def tool_name(name: str) -> str:
    """The name of the tool of an agent: its own, or one that all clients take.

    >>> tool_name("gpt"), tool_name("support/de")
    ('gpt', 'support_de_7b400301')
    """
    if _LEGAL.fullmatch(name):
        return name
    digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:_DIGEST]
    kept = re.sub(r"[^A-Za-z0-9_-]+", "_", name)[:_KEPT]
    return f"{kept}_{digest}"


async def tools_of(caller: Caller, after: str | None) -> types.ListToolsResult:
    """A page of the tools that somebody may call, by name."""
    found = await caller.services.models.offers(caller.who)
    left = [model for model in found if after is None or model.name > after]
    page = left[:PAGE]
    more = page[-1].name if len(left) > PAGE else None
    return types.ListToolsResult(tools=[_tool(model) for model in page], next_cursor=more)


async def model_of(caller: Caller, name: str) -> OfferedModel | None:
    """The agent or panel of a tool's name; None: there is none that this caller may ask."""
    for again in (False, True):
        for model in await caller.services.models.offers(caller.who, again=again):
            if tool_name(model.name) == name:
                return model
    return None


def _tool(model: OfferedModel) -> types.Tool:
    kind = "panel" if model.panel is not None else "agent"
    told = visible(model.description).strip() or f"Ask the {kind} {visible(model.name)}."
    properties: dict[str, Any] = {"input": _INPUT, "instructions": _INSTRUCTIONS}
    if model.panel is None:
        properties["session"] = _SESSION
    schema = {
        "type": "object",
        "properties": properties,
        "required": ["input"],
        "additionalProperties": False,
    }
    hints = types.ToolAnnotations(
        read_only_hint=model.effects == "pure" or None,
        idempotent_hint=model.effects in ("pure", "idempotent") or None,
        open_world_hint=True,
    )
    return types.Tool(
        name=tool_name(model.name),
        title=visible(model.name),
        description=told[:_DESCRIPTION_MAX],
        input_schema=schema,
        annotations=hints,
        execution=types.ToolExecution(task_support="optional"),
        _meta={"celery-agents/kind": model.kind},
    )
