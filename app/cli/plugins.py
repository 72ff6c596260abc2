"""``celery -A app agents plugins …``: what is installed, and what of it is used."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from shutil import which
from typing import Any

import click

from agents.catalog.loading import read_tables
from agents.plugins import GROUPS, Plugin, PluginError, Plugins
from agents.plugins.activation import set_active
from agents.plugins.found import ACTIVATED, canonical
from app.plugins import plugins_of
from celery_agents.client.overview.tables import room, table
from celery_agents.client.shell import Command, NotFoundError, Shown
from celery_agents.visible import visible


@click.group()
def plugins() -> None:
    """Plug-ins: packages and folders with agents, tools, kinds, providers, patterns and memory."""


@plugins.command("list", cls=Command)
@click.pass_context
def list_plugins(ctx: click.Context) -> Shown:
    """List them as they describe themselves; none is imported."""
    config = ctx.obj.app.agents_settings.config
    tables = {} if config is None else read_tables(config)
    found = plugins_of(ctx.obj.app.agents_settings)
    rows = [_row(one, found, tables) for one in found.found]
    rows += [_missing(name) for name in found.missing()]
    shown = [(r["name"], r["version"], r["status"], r["offers_text"], r["problem"]) for r in rows]
    lines = table(("plug-in", "version", "status", "offers", "problem"), shown, within=room())
    value = [{name: row[name] for name in row if name != "offers_text"} for row in rows]
    return Shown(value, "\n".join(lines) if rows else "There are no plug-ins.")


def _row(one: Plugin, found: Plugins, tables: Mapping[str, Any]) -> dict[str, Any]:
    offers = {g: [o.name for o in one.offers if o.group == g] for g in GROUPS}
    offers = {group: names for group, names in offers.items() if names}
    return {
        "name": one.name,
        "version": one.version,
        "status": _status(one, found, tables),
        "source": str(one.folder) if one.folder else "package",
        "description": one.description,
        "offers": offers,
        "offers_text": "; ".join(f"{group}: {', '.join(n)}" for group, n in offers.items()),
        "problem": one.problem or "",
    }


def _missing(name: str) -> dict[str, Any]:
    about = {"name": name, "version": "", "status": "missing", "source": "", "description": ""}
    problem = f"[plugins.{name}] names it, and it is not installed"
    return about | {"offers": {}, "offers_text": "", "problem": problem}


def _status(one: Plugin, found: Plugins, tables: Mapping[str, Any]) -> str:
    """``active``, ``named`` by an entry, ``installed`` and not used, or ``unreadable``."""
    if one.problem is not None:
        return "unreadable"
    if found.is_active(one) and any(offer.group in ACTIVATED for offer in one.offers):
        return "active"
    kinds = {o.name for o in one.offers if o.group in ("kinds", "providers")}
    agents = _tables(tables, "agents")
    tools = [t for t in _tables(tables, "tools") if t.get("kind") == "plugin"]
    named = any(str(t.get("kind")) in kinds for t in agents)
    named = named or canonical(one.name) in {canonical(str(t.get("plugin"))) for t in tools}
    return "named" if named else "installed"


def _tables(tables: Mapping[str, Any], section: str) -> list[dict[str, Any]]:
    return [t for t in tables.get(section, {}).values() if isinstance(t, dict)]


@plugins.command(cls=Command)
@click.argument("requirement")
@click.option(
    "--lock",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A file of requirements with hashes: nothing is installed that does not fit them.",
)
def install(requirement: str, lock: Path | None) -> Shown:
    """Install REQUIREMENT (a package, with a version if wished) into this environment.

    It is not active by that. Workers see it when they are started anew.
    """
    if requirement.startswith("-"):
        raise click.UsageError("REQUIREMENT is the name of a package, no option of the installer.")
    more = [] if lock is None else ["--require-hashes", "-r", str(lock)]
    wanted = [requirement] if lock is None else []
    done = subprocess.run([*_installer(), *more, *wanted], check=False)  # noqa: S603 - as asked
    if done.returncode:
        raise click.ClickException(visible(f"{requirement} was not installed: see above."))
    return Shown({"installed": requirement}, visible(f"{requirement} is installed."))


def _installer() -> list[str]:
    """The installer of this environment.

    Raises:
        ClickException: it has none.
    """
    if find_spec("pip") is not None:
        return [sys.executable, "-m", "pip", "install"]
    if (uv := which("uv")) is not None:
        return [uv, "pip", "install", "--python", sys.executable]
    raise click.ClickException("This environment has neither pip nor uv: install it with yours.")


@plugins.command(cls=Command)
@click.argument("name")
@click.pass_context
def activate(ctx: click.Context, name: str) -> Shown:
    """Write into agents.toml that NAME is active: its agents and patterns are served."""
    found = plugins_of(ctx.obj.app.agents_settings)
    try:
        known = found.get(name).name
    except PluginError as error:
        raise NotFoundError(visible(error.message)) from None
    return _set(ctx, known, active=True)


@plugins.command(cls=Command)
@click.argument("name")
@click.pass_context
def deactivate(ctx: click.Context, name: str) -> Shown:
    """Write into agents.toml that NAME is not active, whether it is there or not."""
    there = plugins_of(ctx.obj.app.agents_settings)
    names = [*(one.name for one in there.found), *there.active]
    known = next((one for one in names if canonical(one) == canonical(name)), None)
    if known is None:
        raise NotFoundError(visible(f"There is no plug-in {name}: see plugins list."))
    return _set(ctx, known, active=False)


def _set(ctx: click.Context, name: str, *, active: bool) -> Shown:
    config = ctx.obj.app.agents_settings.config
    if config is None:
        raise click.UsageError("AGENTS_CONFIG names no file: activation is a line of agents.toml.")
    named = plugins_of(ctx.obj.app.agents_settings).active
    name = next((one for one in named if canonical(one) == canonical(name)), name)
    set_active(config, name, active=active)
    said = "active" if active else "not active"
    told = f"{name} is {said}, in {config}, for workers that are started from now on."
    return Shown({"name": name, "active": active}, visible(told))
