"""Learned experience: what runs have shown, and whether it helps to be told of it."""

from __future__ import annotations

from typing import Self

from celery_agents.contracts.base import Contract


class Experienced(Contract):
    """How one step of an agent went, as its space keeps it beside the step's input."""

    #: The tools that it used and the agents that it asked, in the order of their names.
    did: tuple[str, ...] = ()
    #: From 0 to 1: whether it succeeded or, once a person says so, whether it was right.
    reward: float
    cost_usd: float | None = None
    #: Whether there was something similar to tell it of; ``held``: it was not told all the same.
    found: bool = False
    held: bool = False


class TriedWay(Contract):
    """Tools and agents that were used where something similar was asked, and how that went."""

    names: tuple[str, ...]
    #: How often, each time counted by how similar the input was.
    times: float
    #: The mean, from 0 to 1.
    reward: float

    @property
    def expected(self) -> float:
        """The reward that is to be expected: few times say little."""
        return (self.reward * self.times + 1) / (self.times + 2)


class EffectSide(Contract):
    """Runs that were told of earlier ones, or those that were not."""

    runs: int = 0
    #: Rewards together: how many succeeded or, where people said so, were right.
    succeeded: float = 0.0
    cost_usd: float = 0.0

    @property
    def share(self) -> float:
        """Of each run, how much of it succeeded."""
        return self.succeeded / self.runs if self.runs else 0.0

    def plus(self, one: Experienced) -> Self:
        """With one more."""
        more = {
            "runs": self.runs + 1,
            "succeeded": self.succeeded + one.reward,
            "cost_usd": self.cost_usd + (one.cost_usd or 0.0),
        }
        return self.model_copy(update=more)


class MemoryEffect(Contract):
    """The difference that it makes to be told of earlier runs."""

    told: EffectSide
    #: One run of ten, which there was something to tell, and was told nothing.
    held_out: EffectSide
    #: How much more of those succeeded that were told, with its interval of 95 %. None: too few.
    by: float | None = None
    low: float | None = None
    high: float | None = None
