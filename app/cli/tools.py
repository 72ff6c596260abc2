"""``celery -A app agents tools …``: the tools that a configuration offers. They need no worker."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import click

from agents.catalog.loading import read_tables, see_current_directory
from agents.catalog.toolsets import read_tools_entry, read_toolsets
from agents.net.clients import SharedClients
from agents.net.outside import PrivateHosts
from agents.tools.base import Tool
from agents.tools.calls import ToolError, ToolSpec, heard
from agents.tools.offered import spec_of
from agents.tools.policy import ToolPolicy
from agents.tools.toolset import FixedToolset, Toolset
from agents.toolsets.builtin.catalogue import functions, offers
from agents.toolsets.builtin.offer import made
from agents.toolsets.kinds import ToolResources
from agents.toolsets.mcp.logins import Logins
from agents.toolsets.pins import write_pins
from app.cli.opened import logins_of
from app.plugins import plugins_of
from app.settings import Settings
from celery_agents.client.overview.tables import room, table
from celery_agents.client.shell import Command, NotFoundError, Shown
from celery_agents.errors import AgentsError
from celery_agents.names import COMMAND
from celery_agents.visible import visible


@click.group()
def tools() -> None:
    """Tools of agents: those of the configuration, and those that are built in."""


def _toolsets(ctx: click.Context) -> dict[str, Toolset]:
    settings = ctx.obj.app.agents_settings
    if settings.config is None:
        return {}
    return read_toolsets(settings.config, tables_of(settings.config), resources_of(settings))


def resources_of(settings: Settings, logins: Logins | None = None) -> ToolResources:
    """The resources of toolsets; their logins are the journal's, unless others are given."""
    see_current_directory()
    private = PrivateHosts.of(settings.private_hosts)
    return ToolResources(
        settings.secret,
        ThreadPoolExecutor(1),
        SharedClients(),
        private,
        plugins_of(settings),
        logins_of(settings) if logins is None else logins,
    )


def tables_of(config: Path) -> dict[str, Any]:
    """The tables of a configuration's toolsets, by name."""
    found: dict[str, Any] = read_tables(config).get("tools", {})
    return found


class _Known(NamedTuple):
    """A tool as a model is told of it, how it is called, and who calls it."""

    spec: ToolSpec
    policy: ToolPolicy
    home: Toolset


def _catalogue(ctx: click.Context, *, builtin: bool) -> dict[str, _Known]:
    """Tools by the name of their toolset, or category, and their own.

    Of a server that cannot be asked it is said so, and the others are there.
    """
    if builtin:
        own = {name: made(function) for name, function in functions().items()}
        return {name: _known(FixedToolset(name, tool), tool) for name, tool in own.items()}
    found: dict[str, _Known] = {}
    for name, toolset in _toolsets(ctx).items():
        try:
            listed = asyncio.run(_listed(toolset))
        except AgentsError as error:
            click.echo(visible(f"[tools.{name}] {error.message}"), err=True)
            continue
        found |= {f"{name}.{tool.name}": _known(toolset, tool) for tool in listed}
    return found


def _known(toolset: Toolset, tool: Tool | ToolSpec) -> _Known:
    policy = tool.policy or ToolPolicy(effects=toolset.effects)
    return _Known(spec_of(toolset, tool), policy, toolset)


async def _listed(toolset: Toolset) -> Sequence[Tool | ToolSpec]:
    """The tools of a toolset, asked for outside of any step."""
    step: Any = None
    try:
        return await toolset.specs(step)
    finally:
        await toolset.aclose()


async def _called(known: _Known, arguments: Any) -> Any:
    """The result of a call outside of any step."""
    step: Any = None
    try:
        act = known.home.call(known.spec.name, arguments, key=str(uuid4()), step=step)
        return await heard(act)
    finally:
        await known.home.aclose()


@tools.command("list", cls=Command)
@click.option("--builtin", is_flag=True, help="All that are built in, by category.")
@click.pass_context
def list_tools(ctx: click.Context, *, builtin: bool) -> Shown:
    """List the tools of the configuration's toolsets, or with --builtin those that there are."""
    rows = [
        {
            "name": name,
            "effects": tool.policy.effects,
            "approve": tool.policy.approve,
            "description": next(iter(tool.spec.description.splitlines()), ""),
        }
        for name, tool in _catalogue(ctx, builtin=builtin).items()
    ]
    lines = table(
        ("tool", "effects", "approve", "description"),
        [tuple(row.values()) for row in rows],
        within=room(),
    )
    none = f"The configuration has no tools. Built in are: {COMMAND} tools list --builtin"
    return Shown(rows, "\n".join(lines) if rows else none)


@tools.command(cls=Command)
@click.argument("name")
@click.pass_context
def show(ctx: click.Context, name: str) -> Shown:
    """Show a tool as a model is told of it, how it is called, and an example."""
    where, tool = _found(ctx, name)
    known = offers().get(where)
    told = {
        "name": where,
        "description": tool.spec.description,
        "parameters": tool.spec.parameters,
        "policy": tool.policy.model_dump(mode="json"),
    }
    if known is not None:
        told |= {"example": known.example, "needs": list(known.needs)}
    return Shown(told)


@tools.command("try", cls=Command)
@click.argument("name")
@click.argument("arguments", default="")
@click.option("--yes", is_flag=True, help="Also of a tool that has effects.")
@click.pass_context
def try_tool(ctx: click.Context, name: str, arguments: str, *, yes: bool) -> Shown:
    """Call a tool, here, with ARGUMENTS in JSON; without them with its example.

    A tool that asks its step for more than its key can be called by a worker alone.
    """
    where, tool = _found(ctx, name)
    if tool.policy.effects == "effect" and not yes:
        raise click.UsageError(f"{where} has effects: say --yes.")
    try:
        given = json.loads(arguments) if arguments else dict(offers()[where].example)
    except KeyError:
        raise click.UsageError(f"{where} has no example: give its arguments.") from None
    except ValueError as error:
        raise click.UsageError(f"ARGUMENTS are no JSON: {error}") from None
    try:
        return Shown(asyncio.run(_called(tool, given)))
    except ToolError as error:
        raise click.ClickException(visible(str(error))) from None


@tools.command(cls=Command)
@click.argument("toolset")
@click.pass_context
def pin(ctx: click.Context, toolset: str) -> Shown:
    """Write down the tools of TOOLSET as they are now, where its ``pin`` says."""
    settings = ctx.obj.app.agents_settings
    config = settings.config
    tables = {} if config is None else tables_of(config)
    if config is None or toolset not in tables:
        raise NotFoundError(visible(f"There is no [tools.{toolset}] in the configuration."))
    path = read_tools_entry(config, toolset, tables[toolset]).pin
    if path is None:
        raise click.UsageError(visible(f'[tools.{toolset}] says no pin = "FILE".'))
    table = {name: value for name, value in tables[toolset].items() if name != "pin"}
    found = read_toolsets(config, {toolset: table}, resources_of(settings))[toolset]
    pins = write_pins(asyncio.run(_listed(found)), path)
    return Shown({"path": str(path), "pins": pins}, visible(f"{path} has {len(pins)} tools."))


def _found(ctx: click.Context, name: str) -> tuple[str, _Known]:
    """The tool of that name, in full or without its toolset: of the configuration, or built in."""
    for builtin in (False, True):
        there = _catalogue(ctx, builtin=builtin)
        names = [one for one in there if one == name or one.partition(".")[2] == name]
        if names:
            return names[0], there[names[0]]
    raise NotFoundError(visible(f"There is no tool {name}: see tools list, with --builtin or not."))
