"""Experience of runs: which tools and agents did well where something similar was asked.

Pure functions over what spaces of memories keep. Each tenth run, by its id, is told nothing of it:
against those the others are measured, so it shows whether it helps.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from celery_agents.contracts.experience import EffectSide, Experienced, MemoryEffect, TriedWay
from celery_agents.contracts.memory import MemoryRecord
from celery_agents.intervals import share_interval

#: One run of so many is told nothing.
HELD_OUT_OF = 10
#: Characters of an input that are kept, and compared.
TEXT_MAX = 2_000
#: Tokens of the texts that are compared with one input.
LOOKED_AT_TOKENS = 8_000
#: Ways that an agent is told.
_TOLD = 5


class TriedTimes(NamedTuple):
    """Outcomes, each counted by how similar its input was: their number, and their rewards."""

    weight: float = 0.0
    reward: float = 0.0

    def plus(self, similar: float, reward: float) -> TriedTimes:
        """With one more outcome."""
        return TriedTimes(self.weight + similar, self.reward + similar * reward)


def held_out(run_id: str) -> bool:
    """Return whether a run is told nothing of earlier ones: the same for all of its steps."""
    number = int.from_bytes(hashlib.sha256(f"experience\0{run_id}".encode()).digest()[:8])
    return number % HELD_OUT_OF == 0


def ways(found: Iterable[MemoryRecord], agent: str) -> tuple[TriedWay, ...]:
    """The ways of an agent where something similar was asked, the best first.

    By similarity and reward. Few outcomes say little: as if a good and a bad one had gone before.
    """
    tried: dict[tuple[str, ...], TriedTimes] = {}
    for similar, one, _ in _similar(found, {agent}):
        if one.did:
            tried[one.did] = tried.get(one.did, TriedTimes()).plus(similar, one.reward)
    told = [
        TriedWay(names=did, times=round(t.weight, 3), reward=round(t.reward / t.weight, 3))
        for did, t in tried.items()
    ]
    return tuple(sorted(told, key=lambda way: (-way.expected, -way.times, way.names)))


def of_agents(found: Iterable[MemoryRecord], agents: Mapping[str, str]) -> dict[str, TriedTimes]:
    """Return how candidates, whose agents these are, did where something similar was asked."""
    sums: dict[str, TriedTimes] = {}
    for similar, one, agent in _similar(found, set(agents.values())):
        sums[agent] = sums.get(agent, TriedTimes()).plus(similar, one.reward)
    return {key: sums[agent] for key, agent in agents.items() if agent in sums}


def _similar(
    found: Iterable[MemoryRecord], agents: set[str]
) -> Iterable[tuple[float, Experienced, str]]:
    """Give outcomes of agents, with how similar their inputs were, the most similar as 1."""
    most = 0
    for memory in found:
        if (one := memory.experience) is not None and memory.agent in agents and memory.score:
            most = most or memory.score
            yield memory.score / most, one, memory.agent


def as_instructions(told: Iterable[TriedWay]) -> str:
    """Tell an agent of it: names that the configuration has, and numbers; nobody's words."""
    lines = [
        f"- {', '.join(way.names)}: {way.reward:.0%} of about {max(round(way.times), 1)} went well"
        for way in [*told][:_TOLD]
    ]
    return "\n".join(["In earlier runs with similar input, these were used:", *lines])


def effect(outcomes: Iterable[Experienced]) -> MemoryEffect:
    """Compare runs that were told of earlier ones with those that would have been, held out.

    The interval of the difference is of R. Newcombe, "Interval estimation for the difference
    between independent proportions", 1998 (his method 10), which holds for few runs, too.
    """
    sides = {True: EffectSide(), False: EffectSide()}
    for one in outcomes:
        if one.found:
            sides[one.held] = sides[one.held].plus(one)
    told, held = sides[False], sides[True]
    if not (told.runs and held.runs):
        return MemoryEffect(told=told, held_out=held)
    low, high = _difference(told, held)
    apart = told.share - held.share
    rounded = {name: round(n, 4) for name, n in (("by", apart), ("low", low), ("high", high))}
    return MemoryEffect(told=told, held_out=held, **rounded)


def _difference(one: EffectSide, other: EffectSide) -> tuple[float, float]:
    p, q = one.share, other.share
    (p_low, p_high), (q_low, q_high) = share_interval(p, one.runs), share_interval(q, other.runs)
    return (
        p - q - math.hypot(p - p_low, q_high - q),
        p - q + math.hypot(p_high - p, q - q_low),
    )
