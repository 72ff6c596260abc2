"""Agents that name others: each has to be there, and effects follow from who may ask whom."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING

from agents.catalog.routers import deployments_of, refuse_unroutable
from agents.catalog.teams import effects_of, refuse_circles
from celery_agents.contracts.nearest import meant
from celery_agents.errors import ConfigurationError

if TYPE_CHECKING:
    from agents.catalog.registry import Registered


def refuse_missing(agents: Mapping[str, Registered]) -> None:
    """Refuse agents that name one that is not there.

    Raises:
        ConfigurationError: it names the line, and the nearest right name.
    """
    for agent in agents.values():
        undoes = agent.compensation
        _check_other(agents, agent, "backup", agent.entry.backup if agent.entry else None)
        _check_other(agents, agent, "compensation", undoes.agent if undoes else None)
        _check_semantic(agents, agent)
        _check_other(
            agents, agent, "window.summary", None if agent.window is None else agent.window.summary
        )
        named = {"tools": agent.asks, "handoffs": agent.handoffs, "among": agent.among}
        for field, names in named.items():
            for name in names:
                _check_other(agents, agent, field, name)
    for agent in agents.values():
        for name in agent.handoffs:
            _check_hears(agents, agent, name)


def settle_effects(agents: Mapping[str, Registered]) -> None:
    """Give each agent the worst effects of all whom it may ask.

    Raises:
        ConfigurationError: agents ask in a circle, or a router has one that nobody else may be.
    """
    refuse_circles({name: agent.among for name, agent in agents.items()}, "among")
    refuse_circles({name: (*a.asks, *a.among) for name, a in agents.items()}, "tools")
    team = {name: (*a.asks, *a.handoffs, *a.among) for name, a in agents.items()}
    own = {name: agent.effects for name, agent in agents.items()}
    for agent in agents.values():
        for one in (agent, *agent.deployments):
            one.effects = effects_of(agent.name, own, team)
    refuse_unroutable(agents)


def _check_semantic(agents: Mapping[str, Registered], agent: Registered) -> None:
    if agent.cache is None or (semantic := agent.cache.semantic) is None:
        return
    _check_other(agents, agent, "cache.semantic.embed", semantic.embed)
    _check_other(agents, agent, "cache.semantic.judge", semantic.judge)
    if find_spec("numpy") is None:
        raise ConfigurationError(
            f"[agents.{agent.name}] cache.semantic needs numpy: "
            "pip install 'celery-agents[semantic]'"
        )


def _check_hears(agents: Mapping[str, Registered], agent: Registered, name: str) -> None:
    """Refuse to hand a conversation over to who gets an input alone."""
    for one in deployments_of(agents[name], agents):
        if "messages" in one.lacks:
            what = "a function without a parameter messages" if one.kind == "function" else one.kind
            raise ConfigurationError(
                f"[agents.{agent.name}] handoffs: {one.name!r} is {what}, which is told no "
                f'conversation. Ask it instead: tools = ["agent:{name}"]'
            )


def _check_other(
    agents: Mapping[str, Registered], agent: Registered, field: str, name: str | None
) -> None:
    if name is not None and (name == agent.name or name not in agents):
        near = meant(name, agents.keys() - {agent.name}, repr)
        raise ConfigurationError(
            f"[agents.{agent.name}] {field}: {name!r} is not another agent of this worker{near}"
        )
