"""Routers: the deployments that each one has, once all agents are known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from celery_agents.errors import ConfigurationError

if TYPE_CHECKING:
    from agents.catalog.registry import Registered


def deployments_of(agent: Registered, agents: Mapping[str, Registered]) -> tuple[Registered, ...]:
    """Those one of which answers in an agent's place, in their order, each once.

    A router among others stands for all that it has.
    """
    return tuple({one.deployment: one for one in _leaves(agent, agents)}.values())


def _leaves(agent: Registered, agents: Mapping[str, Registered]) -> Iterator[Registered]:
    if not agent.among:
        yield from agent.deployments or (agent,)
    for name in agent.among:
        yield from _leaves(agents[name], agents)


def refuse_unroutable(agents: Mapping[str, Registered]) -> None:
    """Refuse routers of agents that nobody else can answer for, or that are always free.

    Raises:
        ConfigurationError: it names the line.
    """
    for router in agents.values():
        for one in deployments_of(router, agents) if router.among else ():
            place = f"[agents.{router.name}] among: {one.name!r}"
            if not one.outside:
                raise ConfigurationError(
                    f"{place} is of kind {one.kind}, which answers in this process: there is "
                    "nothing to choose. Take models, HTTP services and tasks of other apps."
                )
            if one.effects == "effect" and one.provider is None:
                raise ConfigurationError(
                    f"{place} has effects, which nobody else is to have after it has failed. Take "
                    'it out, or say that asking it twice does no harm: effects = "idempotent".'
                )
