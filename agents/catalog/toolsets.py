"""The toolsets of agents.toml: ``[tools.NAME]``."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from agents.catalog.kinds import Resources
from agents.catalog.limits import read_policy
from agents.plugins import Plugins
from agents.tools.toolset import Toolset
from agents.toolsets.entries import NamedTools
from agents.toolsets.kinds import KINDS, ToolResources
from celery_agents.errors import ConfigurationError

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,60}")


def with_toolsets(path: Path, tables: Any, resources: Resources, plugins: Plugins) -> Resources:
    """Resources with the toolsets of a file's tables. Raises as :func:`read_toolsets`."""
    shared = ToolResources(
        resources.resolve_secret,
        resources.executor,
        resources.clients,
        resources.private,
        plugins,
        resources.logins,
    )
    return replace(resources, toolsets=read_toolsets(path, tables, shared))


def read_toolsets(path: Path, tables: Any, resources: ToolResources) -> dict[str, Toolset]:
    """The toolsets of a file's tables, by name.

    Raises:
        ConfigurationError: one is not right; it names the field.
    """
    if not isinstance(tables, dict):
        raise ConfigurationError(f"{path}: tools have to be tables like [tools.name].")
    return {name: _toolset(path, name, table, resources) for name, table in tables.items()}


def read_tools_entry(path: Path, name: str, table: Any) -> NamedTools:
    """The fields of one table.

    Raises:
        ConfigurationError: one is not right; it names the field.
    """
    kind = table.get("kind") if isinstance(table, dict) else None
    if not isinstance(kind, str) or kind not in KINDS:
        raise ConfigurationError(
            f"{path}: [tools.{name}] kind: {kind!r} is none of {', '.join(KINDS)}."
        )
    if not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"{path}: [tools.{name}] a toolset's name is of letters, digits and _ . -"
        )
    entry: NamedTools = read_policy(path, f"tools.{name}", table, KINDS[kind].entry)
    return entry


def _toolset(path: Path, name: str, table: Any, resources: ToolResources) -> Toolset:
    entry = read_tools_entry(path, name, table)
    try:
        return KINDS[entry.kind].make(name, entry, resources)
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: [tools.{name}] {error.message}") from None
