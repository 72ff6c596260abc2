"""Agents that are narrowed for a task: held against the registered ones that they are made of."""

from __future__ import annotations

from collections.abc import Iterable

from agents.base import Narrows
from agents.catalog.registry import Registered, Registry
from agents.personality import TRAITS
from celery_agents.contracts.nearest import meant
from celery_agents.contracts.teams.spec import AgentSpec, with_members
from celery_agents.errors import InvalidPayloadError


def check_specs(registry: Registry, specs: Iterable[AgentSpec]) -> None:
    """Refuse specs, of sub-teams too, that say more than their bases can be.

    Raises:
        UnknownAgentError: a base is not there.
        InvalidPayloadError: it has no such tool or trait, or is not told what the spec gives it.
    """
    for spec in with_members([*specs]):
        base = registry.get(spec.base)
        for word in spec.traits:
            if word not in TRAITS:
                near = meant(word, TRAITS, repr)
                raise InvalidPayloadError(f"{spec.called}: {word!r} is no trait{near}")
        for one in registry.deployments_of(base) or (base,):
            if (why := _refusal(one, spec)) is not None:
                raise InvalidPayloadError(f"{spec.called} cannot be made of {spec.base!r}: {why}")


def unknown(registry: Registry, specs: Iterable[AgentSpec]) -> bool:
    """Return whether one of the bases is not there, or not yet."""
    return any(registry.find(spec.base) is None for spec in with_members([*specs]))


def eligible(registry: Registry, lead: str, picker: str) -> tuple[str, ...] | None:
    """Names of the bases of which a picker may make members; None: any.

    A function is yours, and so is its choice. What a model says may be what a text made it say: it
    chooses among those whom the lead, or itself, may ask anyway.
    """
    found = registry.find(picker)
    if found is not None and found.kind == "function":
        return None
    known = (one for one in (found, registry.find(lead)) if one is not None)
    return tuple(dict.fromkeys(name for one in known for name in one.asks))


def told(registry: Registry, names: Iterable[str]) -> str:
    """Agents with what they are for, a line each, and the tools that a member may have of each."""
    lines = []
    for name in names:
        agent = registry.find(name)
        tools = registry.known.tools(name) or ()
        about = "" if agent is None else agent.description
        having = f" Tools: {', '.join(tools)}." if tools else ""
        lines.append(f"- {name}: {about}{having}")
    return "\n".join(lines)


def _refusal(agent: Registered, spec: AgentSpec) -> str | None:
    backend = agent.backend
    if isinstance(backend, Narrows):
        return backend.refusal(spec)
    if spec.tools is not None:
        return f"a {agent.kind} agent has no tools that could be chosen among"
    if spec.members:
        return f"a {agent.kind} agent asks no members of a team"
    return None
