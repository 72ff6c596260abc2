"""The kinds of toolsets that a configuration may name, as a table."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor
from copy import copy
from dataclasses import dataclass, field, fields
from fnmatch import fnmatchcase
from typing import Any, Generic, TypeVar

from agents.net.clients import ResolveSecret, SharedClients
from agents.net.outside import PrivateHosts
from agents.plugins import PluginError, Plugins
from agents.tools.base import Tool
from agents.tools.code.sandbox import CodeBounds
from agents.tools.code.toolset import CodeToolset
from agents.tools.loading import load_tool
from agents.tools.patterns import approved, refuse_unfit, without
from agents.tools.policy import Approve
from agents.tools.toolset import FixedToolset, Toolset
from agents.tools.wrappers import Filtered, Prefixed
from agents.toolsets.builtin.catalogue import chosen
from agents.toolsets.builtin.files.root import Root
from agents.toolsets.builtin.web.home import Web
from agents.toolsets.builtin.web.requesting import Downloads
from agents.toolsets.builtin.web.searching import Search
from agents.toolsets.commands.tools import CommandBounds, command_tool, found_programs
from agents.toolsets.entries import (
    BuiltinTools,
    CodeTools,
    CommandTools,
    NamedTools,
    PlanTools,
    PluginTools,
    PythonTools,
    SkillTools,
)
from agents.toolsets.mcp.entries import McpTools
from agents.toolsets.mcp.logins import Logins, ServerResources
from agents.toolsets.mcp.toolset import McpToolset
from agents.toolsets.openapi.entries import OpenApiTools
from agents.toolsets.openapi.tools import ServiceToolset, read_operations
from agents.toolsets.pins import unchanged
from agents.toolsets.plan import PlanToolset, plan
from agents.toolsets.plugged import BrokenToolset, offered_tools
from agents.toolsets.skills.folders import read_skills
from agents.toolsets.skills.tools import SkillToolset, skill_tool
from celery_agents.errors import ConfigurationError, redact

E = TypeVar("E", bound=NamedTools)


@dataclass(frozen=True, slots=True)
class ToolResources:
    """The resources that the toolsets of a process share."""

    resolve_secret: ResolveSecret
    executor: Executor
    clients: SharedClients
    #: Private hosts that the tools of ``web`` may reach, and those to which an MCP server leads.
    private: PrivateHosts = field(default_factory=PrivateHosts)
    #: Plug-ins that may be named.
    plugins: Plugins = field(default_factory=Plugins)
    #: Persons' logins at MCP servers.
    logins: Logins = field(default_factory=Logins)


@dataclass(frozen=True, slots=True)
class ToolsetKind(Generic[E]):
    """One kind of toolset.

    Args:
        name: The ``kind`` of its tables.
        entry: The model of its tables; fields that it does not know are refused.
        make: Makes the toolset of a table, by its name.
    """

    name: str
    entry: type[E]
    make: Callable[[str, E, ToolResources], Toolset]


def _builtin(name: str, entry: BuiltinTools, r: ToolResources) -> Toolset:
    homes = _homes(entry, r)
    return _fixed(name, chosen(entry.use, entry.exclude, homes), entry, r)


def _homes(entry: BuiltinTools, r: ToolResources) -> dict[str, Any]:
    """The homes of tools that a table gives them, by name."""
    web = Web(
        clients=r.clients,
        private=r.private,
        hosts=tuple(host.lower() for host in entry.hosts),
        secrets={name: host.lower() for name, host in entry.secret_hosts()},
        resolve_secret=r.resolve_secret,
    )
    homes: dict[str, Any] = {"web": web}
    if entry.root is not None:
        if not entry.root.is_dir():
            raise ConfigurationError(f"root: there is no folder {entry.root}.")
        homes["root"] = Root(entry.root.absolute(), entry.quota_bytes)
        homes["downloads"] = Downloads(web, homes["root"])
    if entry.search is not None:
        homes["search"] = Search.of(entry.search, web)
    return homes


def _python(name: str, entry: PythonTools, r: ToolResources) -> Toolset:
    tools: list[Tool] = []
    for path in entry.use:
        if "*" not in path and "?" not in path:
            found = load_tool(path)
            if not isinstance(found, Tool):
                raise ConfigurationError(f"use: {path} is a toolset: name it in an agent's tools.")
            tools.append(found)
        else:
            tools += _fitting(path)
    return _fixed(name, without(tools, entry.exclude), entry, r)


def _openapi(name: str, entry: OpenApiTools, r: ToolResources) -> Toolset:
    found = read_operations(name, entry, clients=r.clients, resolve_secret=r.resolve_secret)
    approved_entry = entry.model_copy(update={"approve": found.approve})
    return ServiceToolset(name, found.service, *_kept(name, found.tools, approved_entry))


def _mcp(name: str, entry: McpTools, r: ToolResources) -> Toolset:
    shared = ServerResources(r.clients, r.resolve_secret, r.private, r.logins)
    return McpToolset(name, entry, shared)


def _plugin(name: str, entry: PluginTools, r: ToolResources) -> Toolset:
    try:
        found = offered_tools(entry, r.plugins)
    except PluginError as error:
        return BrokenToolset(name, error)
    if isinstance(found, list):
        return _fixed(name, without(found, entry.exclude), entry, r)
    if entry.exclude:
        found = Filtered(found, without=entry.exclude)
    return Prefixed(found, entry.prefix) if entry.prefix else found


def _code(name: str, entry: CodeTools, _: ToolResources) -> Toolset:
    if importlib.util.find_spec("pydantic_monty") is None:
        raise ConfigurationError("kind: programs need a package: pip install celery-agents[code]")
    about = entry.model_dump(include={f.name for f in fields(CodeBounds)})
    return CodeToolset(name, CodeBounds(**about), entry.use, lambda t: _kept(name, [t], entry))


def _skills(name: str, entry: SkillTools, r: ToolResources) -> Toolset:
    tools = _kept(name, [skill_tool(read_skills(entry.folders))], entry)
    return SkillToolset(name, *tools, executor=r.executor)


def _plan(name: str, entry: PlanTools, _: ToolResources) -> Toolset:
    return PlanToolset(name, *_kept(name, [plan], entry))


def _commands(name: str, entry: CommandTools, r: ToolResources) -> Toolset:
    if not entry.root.is_dir():
        raise ConfigurationError(f"root: there is no folder {entry.root}.")
    bounds = CommandBounds(entry.timeout_s, entry.memory_bytes, entry.file_bytes)
    made = command_tool(found_programs(entry.programs), entry.root.absolute(), bounds)
    return _fixed(name, [made], entry, r)


def _fitting(path: str) -> list[Tool]:
    """The tools of a module whose names fit; plain functions are none."""
    module, _, pattern = path.partition(":")
    try:
        there = vars(importlib.import_module(module))
    except Exception as error:  # noqa: BLE001 - a user's module may raise anything
        reason = redact(f"{type(error).__name__}: {error}")
        raise ConfigurationError(f"use: {module} cannot be imported: {reason}") from None
    found = [t for n, t in there.items() if isinstance(t, Tool) and fnmatchcase(n, pattern)]
    if not found:
        raise ConfigurationError(f"use: {path} fits no tool of {module}.")
    return found


def _fixed(name: str, tools: Iterable[Tool], entry: NamedTools, r: ToolResources) -> Toolset:
    return FixedToolset(name, *_kept(name, tools, entry), executor=r.executor)


def _kept(name: str, tools: Iterable[Tool], entry: NamedTools) -> list[Tool]:
    """The tools by the names and policies of their table, without those that are not as pinned."""
    named = [_named(tool, entry.prefix, entry.approve) for tool in tools]
    refuse_unfit(entry.approve, [tool.name for tool in named])
    return unchanged(named, entry.pin, who=name)


def _named(tool: Tool, prefix: str, approve: Mapping[str, Approve]) -> Tool:
    found = copy(tool)
    found.name = f"{prefix}{tool.name}"
    found.policy = approved(found.name, tool.policy, approve)
    return found


#: A kind registers by standing here.
KINDS: Mapping[str, ToolsetKind[Any]] = {
    kind.name: kind
    for kind in (
        ToolsetKind("builtin", BuiltinTools, _builtin),
        ToolsetKind("python", PythonTools, _python),
        ToolsetKind("openapi", OpenApiTools, _openapi),
        ToolsetKind("mcp", McpTools, _mcp),
        ToolsetKind("plugin", PluginTools, _plugin),
        ToolsetKind("code", CodeTools, _code),
        ToolsetKind("skills", SkillTools, _skills),
        ToolsetKind("plan", PlanTools, _plan),
        ToolsetKind("commands", CommandTools, _commands),
    )
}
