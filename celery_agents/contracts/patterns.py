"""The payloads of the patterns: ``agents.fallback`` and ``agents.vote``."""

from __future__ import annotations

from celery_agents.contracts.ask import StepOptions
from celery_agents.contracts.base import JsonValue, Name, Seconds
from celery_agents.contracts.fallback import FallbackPolicy
from celery_agents.contracts.vote import VotePolicy


class Pattern(StepOptions):
    """A step that consists of others: ``timeout_s`` is for all of them together."""

    @property
    def whole_s(self) -> float | None:
        return self.timeout_s if self.deadline_s is None else self.deadline_s


class Fallback(Pattern, FallbackPolicy):
    """A fallback chain over one input. ``retry`` is of each candidate, ``timeout_s`` of all."""

    instructions: str | None = None
    answer_schema: dict[str, JsonValue] | None = None
    #: Names the sort of work: what is learned about the candidates is kept apart by it.
    work: Name = "any"


class Vote(Pattern, VotePolicy):
    """A vote on one question. ``retry`` is of each voter, ``timeout_s`` closes the vote."""

    instructions: str | None = None
    #: For one voter, with its retries.
    voter_timeout_s: Seconds | None = None
