"""Pins: the digests of tools as somebody has looked at them."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from agents.tools.base import Tool
from agents.tools.calls import ToolSpec
from agents.values import digest
from celery_agents import names
from celery_agents.errors import ConfigurationError
from celery_agents.noted import note

log = logging.getLogger(__name__)

T = TypeVar("T", bound=Tool | ToolSpec)


def pin_of(tool: Tool | ToolSpec) -> str:
    """The digest of what a model is told of a tool, and of its effects."""
    effects = None if tool.policy is None else tool.policy.effects
    return digest([tool.name, tool.description, tool.parameters, effects])


def write_pins(tools: Iterable[Tool | ToolSpec], path: Path) -> dict[str, str]:
    """Write down the tools as they are now; gives their digests by name."""
    pins = {tool.name: pin_of(tool) for tool in tools}
    path.write_text(json.dumps(pins, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return pins


def unchanged(tools: list[Tool], path: Path | None, *, who: str) -> list[Tool]:
    """The tools that are as they were pinned; of others it is noted that they are withheld.

    Raises:
        ConfigurationError: the file cannot be read.
    """
    return as_pinned(tools, read_pins(path, who=who), who=who, where=path)


def read_pins(path: Path | None, *, who: str) -> dict[str, str] | None:
    """The digests that a file has, by name; None without a file.

    Raises:
        ConfigurationError: it cannot be read.
    """
    if path is None:
        return None
    try:
        pins: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigurationError(
            f"pin: there is no {path}. Write it: {names.COMMAND} tools pin {who}"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"pin: {path} cannot be read: {error}") from None
    if not isinstance(pins, dict):
        raise ConfigurationError(f"pin: {path} cannot be read: it is no object of names")
    return pins


def as_pinned(
    tools: list[T], pins: Mapping[str, str] | None, *, who: str, where: Path | None
) -> list[T]:
    """The tools that have these digests, all without any; it is noted which are withheld."""
    if pins is None:
        return tools
    kept = [tool for tool in tools if pins.get(tool.name) == pin_of(tool)]
    if withheld := [tool.name for tool in tools if tool not in kept]:
        told = "Tools of %s are not as %s has them, and not offered: %s"
        note(log, "tools_withheld", told, who, where, ", ".join(withheld))
    return kept
