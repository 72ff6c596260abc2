"""The flows that there are: functions by their names and versions."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

from agents.flows import swarm, workflow
from celery_agents.errors import ConfigurationError, UnknownFlowError
from celery_agents.flow import flow_mark_of


class Flows:
    """Flows by name and version. One that is given twice is an error, not a surprise."""

    def __init__(self) -> None:
        self._functions: dict[str, dict[int, Callable[..., Any]]] = {}
        self.add_module(workflow)
        self.add_module(swarm)

    def add_module(self, module: ModuleType) -> None:
        """Add the functions of a module that are marked as flows.

        Raises:
            ConfigurationError: two of them have the same name and version.
        """
        for value in list(vars(module).values()):
            if (mark := flow_mark_of(value)) is None:
                continue
            versions = self._functions.setdefault(mark.name, {})
            if versions.setdefault(mark.version, value) is not value:
                raise ConfigurationError(
                    f"Two flows are named {mark.name!r} and have version {mark.version}."
                )

    def get(self, name: str, version: int | None) -> tuple[int, Callable[..., Any]]:
        """The flow of that name and version, or its newest one.

        Raises:
            UnknownFlowError: naming what there is.
        """
        versions = self._functions.get(name, {})
        if version is None and versions:
            version = max(versions)
        if version not in versions:
            known = ", ".join(f"{n} {sorted(v)}" for n, v in sorted(self._functions.items()))
            which = "" if version is None else f" of version {version}"
            raise UnknownFlowError(
                f"There is no flow {name!r}{which} in this worker. It has: {known or 'none'}. "
                "Flows come from AGENTS_MODULES and entry points."
            )
        return version, versions[version]
