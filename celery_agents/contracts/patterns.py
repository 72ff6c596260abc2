"""The payloads of the patterns: ``agents.fallback`` and ``agents.vote``."""

from __future__ import annotations

from celery_agents.contracts.ask import StepOptions
from celery_agents.contracts.base import JsonValue
from celery_agents.contracts.fallback import FallbackPolicy
from celery_agents.contracts.vote import VotePolicy


class Fallback(StepOptions, FallbackPolicy):
    """A fallback chain over one input. ``retry`` is of each candidate, ``timeout_s`` of all."""

    instructions: str | None = None
    answer_schema: dict[str, JsonValue] | None = None


class Vote(StepOptions, VotePolicy):
    """A vote on one question. ``retry`` is of each voter, ``timeout_s`` closes the vote."""

    instructions: str | None = None
    #: For one voter, with its retries.
    voter_timeout_s: float | None = None
