"""Agents that ask agents: what follows from who asks whom, once all are known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from agents.tools.base import worst
from celery_agents.agent import Effects
from celery_agents.errors import ConfigurationError

#: Names of agents, with those of the agents that each one asks.
Asks = Mapping[str, Sequence[str]]


def effects_of(name: str, own: Mapping[str, Effects], asks: Asks) -> Effects:
    """The worst effects of an agent and of all whom it may ask, directly or by others."""
    return worst(own[one] for one in reached(name, asks))


def reached(name: str, asks: Asks) -> set[str]:
    """An agent and all whom it may ask, directly or by others."""
    seen: set[str] = set()
    todo = [name]
    while todo:
        one = todo.pop()
        if one not in seen:
            seen.add(one)
            todo.extend(asks.get(one, ()))
    return seen


def refuse_circles(asks: Asks, field: str = "tools") -> None:
    """Refuse agents that would ask themselves by way of others, as ``field`` of an entry says.

    Raises:
        ConfigurationError: it tells the way.
    """
    known_good: set[str] = set()
    for name in asks:
        for way in _ways(name, asks, known_good):
            if way[-1] in way[:-1]:
                told = " → ".join(way[way.index(way[-1]) :])
                raise ConfigurationError(f"[agents.{way[-1]}] {field}: {told} is a circle.")


def _ways(name: str, asks: Asks, known_good: set[str]) -> Iterator[list[str]]:
    """Walk in depth from an agent: the way to each that is reached."""
    todo = [(name, iter(asks[name]))]
    while todo:
        at, rest = todo[-1]
        following = next(rest, None)
        if following is None:
            known_good.add(at)
            todo.pop()
        elif following not in known_good:
            yield [*(one for one, _ in todo), following]
            todo.append((following, iter(asks[following])))
