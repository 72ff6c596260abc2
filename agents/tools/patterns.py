"""Patterns of tools' names, as configurations and toolsets have them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

from agents.tools.base import Tool
from agents.tools.policy import Approve, ToolPolicy
from celery_agents.errors import ConfigurationError


def fits(name: str, patterns: Iterable[str]) -> bool:
    """Return whether one of the patterns fits a name."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def approved(name: str, policy: ToolPolicy, approve: Mapping[str, Approve]) -> ToolPolicy:
    """The policy with the last word of ``approve`` that fits the name."""
    said = [word for pattern, word in approve.items() if fnmatchcase(name, pattern)]
    return policy.model_copy(update={"approve": said[-1]}) if said else policy


def refuse_unfit(approve: Iterable[str], names: Iterable[str]) -> None:
    """Refuse patterns of ``approve`` that fit no name.

    Raises:
        ConfigurationError: it names them.
    """
    there = [*names]
    odd = [pattern for pattern in approve if not any(fnmatchcase(n, pattern) for n in there)]
    if odd:
        raise ConfigurationError(f"approve: no tool has a name like {', '.join(odd)}.")


def without(tools: list[Tool], exclude: Iterable[str]) -> list[Tool]:
    """The tools that no pattern of ``exclude`` fits.

    Raises:
        ConfigurationError: a pattern fits none.
    """
    names, patterns = [tool.name for tool in tools], [*exclude]
    if odd := [pattern for pattern in patterns if not any(fits(n, [pattern]) for n in names)]:
        raise ConfigurationError(f"exclude: no tool has a name like {', '.join(odd)}.")
    return [tool for tool in tools if not fits(tool.name, patterns)]
