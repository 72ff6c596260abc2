"""The memories of agents.toml: ``[memory.NAME]``."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from agents.catalog.limits import read_policies
from agents.memory.terms import check_language
from celery_agents.contracts.memory import MemoryPolicy
from celery_agents.errors import ConfigurationError


def read_memories(path: Path, tables: Any) -> dict[str, MemoryPolicy]:
    """The memories of a file's tables, by name.

    Raises:
        ConfigurationError: one is not right; it names the field.
    """
    found = read_policies(path, "memory", tables, MemoryPolicy)
    learning: dict[str, str] = {}
    for name, policy in found.items():
        for agent in policy.learns_from:
            if (other := learning.setdefault(agent, name)) != name:
                told = f"[memory.{name}] learns_from: {agent!r} is of [memory.{other}] already"
                raise ConfigurationError(f"{path}: {told}")
        try:
            check_language(policy.language)
        except ConfigurationError as error:
            raise ConfigurationError(f"{path}: [memory.{name}] {error.message}") from None
        if policy.embed is not None and find_spec("numpy") is None:
            raise ConfigurationError(
                f"{path}: [memory.{name}] embed needs numpy: pip install 'celery-agents[semantic]'"
            )
    return found
