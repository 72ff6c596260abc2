"""Gathering: many agents' answers to one input made one value, other than by vote."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from celery_agents.contracts.base import Contract, Name, TrustedJson, Whole
from celery_agents.contracts.patterns import Pattern
from celery_agents.contracts.schema import AnswerSchema
from celery_agents.contracts.vote import Voter, one_each

Why = Literal["no_answer", "wrong_type", "no_score", "no_weight"]


class Gather(Pattern):
    """Ask all ``agents`` and make one value of their answers by ``how``.

    ``merge``: objects or lists; ``mean``, ``median``: numbers, by the agents' weights; ``concat``:
    texts; ``best``: the one to which the ``judge`` gives the highest score. ``at_least`` answers
    are needed. ``timeout_s`` closes it with what is there.
    """

    agents: Annotated[tuple[Voter, ...], Field(min_length=1, max_length=1000)]
    how: Literal["merge", "mean", "median", "concat", "best"] = "merge"
    judge: Name | None = None
    separator: str = "\n\n"
    at_least: Annotated[int, Field(ge=1), Whole] = 1
    instructions: str | None = None
    answer_schema: AnswerSchema | None = None

    @property
    def ballots(self) -> int:
        """The number of agents that are asked."""
        return len(self.agents)

    @field_validator("agents")
    @classmethod
    def _one_answer_each(cls, agents: tuple[Voter, ...]) -> tuple[Voter, ...]:
        return one_each(agents)

    @model_validator(mode="after")
    def _judged(self) -> Self:
        if (self.how == "best") != (self.judge is not None):
            raise ValueError("how best needs a judge, and only best has one")
        if self.at_least > len(self.agents):
            raise ValueError("at_least is more than the agents there are")
        return self


class Skipped(Contract):
    """A member whose value is not in the aggregate."""

    member: str
    why: Why


class Clash(Contract):
    """Members gave different values at a path of keys; the first one's was kept."""

    path: tuple[str, ...]
    values: dict[str, TrustedJson]


class Aggregate(Contract):
    """The one value (None when nothing could be used), who is in it, who is not, what clashed."""

    value: TrustedJson
    used: tuple[str, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    conflicts: tuple[Clash, ...] = ()
