"""The memories of agents.toml: ``[memory.NAME]``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from agents.catalog.kinds import Resources
from agents.catalog.limits import read_policies
from agents.memory.backends import MemoryBackend, SearchedSpace, built_in
from agents.memory.terms import check_language
from agents.plugins import Contribution, PluginError, Plugins
from agents.plugins.loading import error_text
from agents.values import shown
from celery_agents.contracts.memory import MemoryPolicy
from celery_agents.contracts.nearest import meant
from celery_agents.errors import ConfigurationError


class BrokenBackend:
    """Stands for the backend of a plug-in that cannot be used: recalls of its memories fail."""

    def __init__(self, error: PluginError) -> None:
        self._error = error

    def find(self, space: SearchedSpace) -> Mapping[int, int]:  # noqa: ARG002 - as it has to be
        """Say why.

        Raises:
            PluginError: always.
        """
        raise self._error


def with_memories(
    path: Path, memories: Mapping[str, MemoryPolicy], resources: Resources, plugins: Plugins
) -> Resources:
    """Resources with memories, and the backends that those name. Raises as below."""
    backends = read_backends(path, memories, plugins)
    return replace(resources, memories=memories, backends=backends)


def read_backends(
    path: Path, memories: Mapping[str, MemoryPolicy], plugins: Plugins
) -> dict[str, MemoryBackend]:
    """The backends of plug-ins that memories name.

    Raises:
        ConfigurationError: there is none of that name.
    """
    offered, known = plugins.offered("memory"), built_in()
    found: dict[str, MemoryBackend] = {}
    for name, policy in memories.items():
        if (backend := policy.backend) is None or backend in known or backend in found:
            continue
        if backend not in offered:
            near = meant(backend, [*known, *offered], repr)
            told = f"[memory.{name}] backend: there is no {backend!r}{near}"
            raise ConfigurationError(f"{path}: {told}")
        try:
            found[backend] = _made(plugins.load(offered[backend]), offered[backend][0])
        except PluginError as error:
            found[backend] = BrokenBackend(error)
    return found


def _made(found: Any, offer: Contribution) -> MemoryBackend:
    """The backend of a class, or what is one itself.

    Raises:
        PluginError: it is none.
    """
    try:
        made: Any = found() if isinstance(found, type) else found
    except Exception as error:  # noqa: BLE001 - of a plug-in's code
        raise offer.error(error_text(error)) from None
    if not callable(getattr(made, "find", None)):
        raise offer.error(f"{shown(found)} is no MemoryBackend: it has no find")
    return made  # type: ignore[no-any-return]  # looked at above


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
