"""The flows that there are: functions by their names and versions, and classes that are actors."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

from agents.actors.serving import flow_of
from agents.flows import swarm, workflow
from celery_agents.actor import actor_mark_of, methods_of
from celery_agents.contracts.flows.actors import ACTOR
from celery_agents.errors import ConfigurationError, UnknownActorError, UnknownFlowError
from celery_agents.flow import flow_mark_of


class Flows:
    """Flows by name and version. One that is given twice is an error, not a surprise."""

    def __init__(self) -> None:
        self._functions: dict[str, dict[int, Callable[..., Any]]] = {}
        self.actors: dict[str, type] = {}
        self.add_module(workflow)
        self.add_module(swarm)

    def add_module(self, module: ModuleType) -> None:
        """Add the functions of a module that are marked as flows.

        Raises:
            ConfigurationError: two of them have the same name and version.
        """
        for value in list(vars(module).values()):
            if (about := actor_mark_of(value)) is not None:
                if self.actors.setdefault(about.name, value) is not value:
                    raise ConfigurationError(f"Two actors are named {about.name!r}.")
                self._functions[f"{ACTOR}{about.name}"] = {1: flow_of(value, about)}
            if (mark := flow_mark_of(value)) is None:
                continue
            versions = self._functions.setdefault(mark.name, {})
            if versions.setdefault(mark.version, value) is not value:
                raise ConfigurationError(
                    f"Two flows are named {mark.name!r} and have version {mark.version}."
                )

    def method(self, actor: str, method: str) -> None:
        """See that there is an actor of that name, with that method.

        Raises:
            UnknownActorError: naming what there is.
        """
        if (kind := self.actors.get(actor)) is None:
            known = ", ".join(sorted(self.actors)) or "none"
            raise UnknownActorError(
                f"There is no actor {actor!r} in this worker. It has: {known}. "
                "Actors come from AGENTS_MODULES and entry points."
            )
        if method not in (methods := methods_of(kind)):
            has = ", ".join(methods)
            raise UnknownActorError(f"The actor {actor} has no method {method!r}; it has {has}.")

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
