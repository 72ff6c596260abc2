"""The tools, toolsets and other agents that an agent's entry names."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from agents.tools.base import Tool
from agents.tools.colleagues import AGENT, SPAWN
from agents.tools.toolset import Toolset, checked
from agents.values import shown
from celery_agents.contracts.nearest import meant
from celery_agents.errors import ConfigurationError, redact


class Loaded(NamedTuple):
    """Tools by where they come from: functions, toolsets, names of agents."""

    tools: list[Tool]
    toolsets: list[Toolset]
    agents: list[str]
    spawns: list[str]  # those that a model may narrow


def load_tools(
    sources: Iterable[str | Tool | Toolset],
    *,
    who: str,
    named: Mapping[str, Toolset] | None = None,
) -> Loaded:
    """Functions, and toolsets: these, and what stands at these paths; ``agent:NAME`` is an agent.

    ``spawn:NAME`` is one that the model narrows for a task.

    A name without a colon is one of the ``named``, those of the configuration.

    Raises:
        ConfigurationError: one cannot be loaded, or two of a kind have one name.
    """
    tools: dict[str, tuple[str, Tool]] = {}
    toolsets: dict[str, tuple[str, Toolset]] = {}
    agents: dict[str, list[str]] = {AGENT: [], SPAWN: []}
    for source in sources:
        before = _before(source)
        if before is not None and isinstance(source, str):
            agents[before].append(source.removeprefix(before))
            continue
        path = source if isinstance(source, str) else shown(source)
        found = _tool(source, path) if not isinstance(source, str) else _at(source, named or {})
        if isinstance(found, Tool):
            _add(tools, path, found, f"tools of {who}")
        else:
            _add(toolsets, path, found, f"toolsets of {who}")
    found_tools = [tool for _, tool in tools.values()]
    found_toolsets = [toolset for _, toolset in toolsets.values()]
    return Loaded(found_tools, found_toolsets, agents[AGENT], agents[SPAWN])


def _before(source: str | Tool | Toolset) -> str | None:
    """The word by which a source is an agent."""
    words = (AGENT, SPAWN) if isinstance(source, str) else ()
    return next((word for word in words if str(source).startswith(word)), None)


def _at(source: str, named: Mapping[str, Toolset]) -> Tool | Toolset:
    if ":" in source:
        return load_tool(source)
    if source not in named:
        near = meant(source, named, repr)
        raise ConfigurationError(
            "A tool is named 'module:function', an agent 'agent:name' or 'spawn:name', and there "
            f"is no [tools.{source}] in the configuration{near}"
        )
    return named[source]


def load_tool(path: str) -> Tool | Toolset:
    """The tool or toolset at ``module:name``; a plain function becomes a tool with ``effect``.

    Raises:
        ConfigurationError: there is none.
    """
    module, _, attribute = path.partition(":")
    if not module or not attribute:
        raise ConfigurationError(f"A tool is named 'module:function', not {path!r}")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # noqa: BLE001 - a user's module may raise anything
        reason = redact(f"{type(error).__name__}: {error}")
        raise ConfigurationError(f"The tool {path!r} cannot be loaded: {reason}") from None
    return _tool(found, path)


def _tool(found: Any, path: str) -> Tool | Toolset:
    if isinstance(found, Tool):
        return found
    if inspect.isroutine(found):
        return Tool(found)
    try:
        return checked(found)
    except ConfigurationError as error:
        raise ConfigurationError(
            f"{path} is neither a Python function nor a toolset: {error.message}"
        ) from None


def _add(known: dict[str, tuple[str, Any]], path: str, found: Any, what: str) -> None:
    if found.name in known:
        other, _ = known[found.name]
        raise ConfigurationError(f"Two {what} have the name {found.name!r}: {other} and {path}.")
    known[found.name] = (path, found)
