"""The payloads of the patterns: ``agents.fallback`` and ``agents.vote``."""

from __future__ import annotations

from celery_agents.contracts.ask import StepOptions
from celery_agents.contracts.base import Name, Seconds, TrustedJson
from celery_agents.contracts.fallback import FallbackPolicy
from celery_agents.contracts.outcome import State
from celery_agents.contracts.policies import DELIVERY, RetryPolicy, Webhook
from celery_agents.contracts.schema import AnswerSchema
from celery_agents.contracts.vote import VotePolicy

#: Of the step that undoes a run: how often it looks whether the run's steps have stopped (for a
#: minute on average; a lease that runs out takes less), and how many workers may die under it.
STOPPING = RetryPolicy(max_attempts=30, base_delay_s=0.2, max_delay_s=5.0)


class Pattern(StepOptions):
    """A step that consists of others: ``timeout_s`` is for all of them together.

    So is ``deadline_s``; of both the shorter one holds.
    """

    @property
    def whole_s(self) -> float | None:
        """Seconds for the whole pattern: the shorter of ``timeout_s`` and ``deadline_s``."""
        return min((s for s in (self.timeout_s, self.deadline_s) if s is not None), default=None)


class Fallback(Pattern, FallbackPolicy):
    """A fallback chain over one input. ``retry`` is of each candidate, ``timeout_s`` of all."""

    instructions: str | None = None
    answer_schema: AnswerSchema | None = None
    #: Names the sort of work: what is learned about the candidates is kept apart by it.
    work: Name = "any"


class Compensate(StepOptions):
    """Undo a run that ended badly; only the service itself asks for it."""

    run_id: Name
    task: str = ""
    state: State = State.FAILED
    error: str | None = None  # its kind
    retry: RetryPolicy = STOPPING


class Delivery(StepOptions):
    """Tell somebody that a run has ended; only the service itself asks for it."""

    to: Webhook
    #: What is told, without the answer.
    event: dict[str, TrustedJson]
    retry: RetryPolicy = DELIVERY


class Vote(Pattern, VotePolicy):
    """A vote on one question. ``retry`` is of each voter, ``timeout_s`` closes the vote."""

    instructions: str | None = None
    #: For one voter, with its retries.
    voter_timeout_s: Seconds | None = None

    @property
    def ballots(self) -> int:
        """The most ballots that the vote may pay for."""
        return self.ballots_in_all
