"""Tools of plug-ins: what one offers, as tools; and what stands for one that cannot be used."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from types import ModuleType
from typing import Any, NoReturn

from agents.base import StepContext
from agents.plugins import Contribution, PluginError, Plugins
from agents.tools.base import Tool
from agents.tools.toolset import Toolset, checked
from agents.toolsets.entries import PluginTools
from celery_agents.agent import Effects
from celery_agents.contracts.base import JsonValue
from celery_agents.contracts.nearest import meant
from celery_agents.errors import ConfigurationError


class BrokenToolset(Toolset):
    """The toolset of a plug-in that cannot be used: the steps of agents that have it fail."""

    effects: Effects = "effect"  # nobody knows what its tools would have been

    def __init__(self, name: str, error: PluginError) -> None:
        self.name, self.error = name, error

    async def specs(self, step: StepContext) -> Sequence[Tool]:  # noqa: ARG002 - as it has to be
        self._fail()

    async def call(self, name: str, arguments: JsonValue, *, key: str, step: StepContext) -> Any:  # noqa: ARG002 - as it has to be
        self._fail()

    def _fail(self) -> NoReturn:
        raise PluginError(f"[tools.{self.name}] {self.error.message}")


def offered_tools(entry: PluginTools, plugins: Plugins) -> list[Tool] | Toolset:
    """The tools that a plug-in offers, by the names of ``use``; or its toolset, where it is one.

    Raises:
        PluginError: the plug-in is not there, or cannot be used.
        ConfigurationError: it offers none of that name, or a toolset beside others.
    """
    offers = [o for o in plugins.get(entry.plugin).offers if o.group == "tools"]
    names = [offer.name for offer in offers]
    if not offers:
        raise ConfigurationError(f"plugin: {entry.plugin} offers no tools.")
    for name in entry.use:
        if name not in names:
            near = meant(name, names, repr)
            raise ConfigurationError(f"use: {entry.plugin} offers no tools {name!r}{near}")
    chosen = [offer for offer in offers if not entry.use or offer.name in entry.use]
    found = [_tools(offer, plugins.limit_s) for offer in chosen]
    toolsets = [one for one in found if not isinstance(one, list)]
    if toolsets and (len(found) > 1 or entry.approve or entry.pin):
        raise ConfigurationError(
            f"use: {toolsets[0].name} of {entry.plugin} is a toolset, which lists its tools at "
            "each step: it stands alone, without approve and pin. An agent's own approve holds."
        )
    return toolsets[0] if toolsets else [t for one in found if isinstance(one, list) for t in one]


def _tools(offer: Contribution, limit_s: float) -> list[Tool] | Toolset:
    found = offer.load(limit_s)
    if isinstance(found, ModuleType):
        tools = [value for value in vars(found).values() if isinstance(value, Tool)]
        if not tools:
            raise offer.error("its module has no tools (from celery_agents import tool)")
        return tools
    if isinstance(found, Tool):
        return [found]
    try:
        return [Tool(found)] if inspect.isroutine(found) else checked(found)
    except ConfigurationError as error:
        raise offer.error(error.message) from None
