"""Agents, panels and tools of workers as tools: their names, descriptions and schemas."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any

from mcp import types
from pydantic import Field

from api.mcp.callers import Caller
from api.mcp.pages import page_of
from api.openai.catalog import OfferedModel
from celery_agents.contracts.base import Contract, JsonValue, Name
from celery_agents.visible import visible

#: The kind of agents that are nothing but tools.
TOOLS = "tools"
#: Names that all clients and models take.
_LEGAL = re.compile(r"[A-Za-z0-9_-]{1,64}")
_KEPT, _DIGEST = 55, 8
#: Characters of a description.
_DESCRIPTION_MAX = 2_000


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


@dataclass(frozen=True, slots=True)
class CallableTool:
    """Something that is called by a name: an agent, a panel, or a tool of an agent."""

    name: str
    model: OfferedModel
    #: What others are told of the tool; None: the agent or panel itself is asked.
    spec: dict[str, Any] | None = None

    @property
    def as_task(self) -> bool:
        """True of what nobody should wait for in one request."""
        return self.spec is not None and bool(self.spec.get("as_task"))


def callable_tools(models: Iterable[OfferedModel]) -> dict[str, CallableTool]:
    """All that can be called, by names that clients take.

    A tool has its own name, and that of its agent before it where something else is called so.
    """
    by_name = {}
    models = sorted(models, key=lambda m: m.name)
    for model in models:
        if model.kind != TOOLS:
            found = CallableTool(tool_name(model.name), model)
            by_name[found.name] = found
    for model in models:
        for spec in model.tools if model.kind == TOOLS else ():
            own = tool_name(spec["name"])
            name = own if own not in by_name else tool_name(f"{model.name}/{spec['name']}")
            by_name[name] = CallableTool(name, model, spec)
    return by_name


async def tools_of(caller: Caller, after: str | None) -> types.ListToolsResult:
    """A page of the tools that somebody may call, by name, as they are now."""
    await caller.services.models.refresh()
    found = callable_tools(await caller.services.models.offers(caller.who))
    page, more = page_of(found, after)
    return types.ListToolsResult(tools=[_tool(found[name]) for name in page], next_cursor=more)


async def tool_of(caller: Caller, name: str) -> CallableTool | None:
    """The tool of that name; None: there is none that this caller may ask."""
    for again in (False, True):
        models = await caller.services.models.offers(caller.who, again=again)
        if (found := callable_tools(models).get(name)) is not None:
            return found
    return None


def _tool(found: CallableTool) -> types.Tool:
    model, spec = found.model, found.spec
    effects = model.effects if spec is None else spec["effects"]
    hints = types.ToolAnnotations(
        read_only_hint=effects == "pure" or None,
        idempotent_hint=effects in ("pure", "idempotent") or None,
        open_world_hint=True,
    )
    support: Any = "required" if found.as_task else "optional"
    return types.Tool(
        name=found.name,
        title=visible(model.name if spec is None else spec["name"]),
        description=_description(found)[:_DESCRIPTION_MAX],
        input_schema=_schema_of(model) if spec is None else _object(spec["parameters"]),
        annotations=hints,
        execution=types.ToolExecution(task_support=support),
        _meta={"celery-agents/kind": model.kind},
    )


def _description(found: CallableTool) -> str:
    model = found.model
    if found.spec is not None:
        return visible(found.spec["description"]).strip()
    kind = "agent" if model.is_agent else "flow" if model.flow is not None else "panel"
    verb = "Start" if model.flow is not None else "Ask"
    return visible(model.description).strip() or f"{verb} the {kind} {visible(model.name)}."


def _object(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema as clients want it: of an object, whatever else it says."""
    return {**schema, "type": "object"}


def _schema_of(model: OfferedModel) -> dict[str, Any]:
    if model.flow is not None:
        return model.flow.parameters
    properties: dict[str, Any] = {"input": _INPUT, "instructions": _INSTRUCTIONS}
    if model.panel is None:
        properties["session"] = _SESSION
    return {
        "type": "object",
        "properties": properties,
        "required": ["input"],
        "additionalProperties": False,
    }
