"""One agent asks another: each such turn is a member of the step that asks."""

from __future__ import annotations

from agents.plan import Member
from celery_agents import names
from celery_agents.contracts.ask import Ask
from celery_agents.contracts.base import JsonValue
from celery_agents.contracts.outcome import ErrorInfo, Outcome
from celery_agents.errors import StepCancelledError


def asked(key: str, ask: Ask) -> Member:
    """The member that is an agent's turn, as ``agents.ask`` takes it."""
    return Member(
        key=key,
        task=names.ASK,
        agent=ask.agent,
        input=ask.input,
        options=ask.message_options(),
        max_attempts=ask.retry.max_attempts,
        deadline_s=ask.deadline_s,
    )


def error_of(outcome: Outcome) -> ErrorInfo:
    """The error of a turn that did not succeed; one that was let go was cancelled."""
    return outcome.error or ErrorInfo.of(StepCancelledError())


def value_of(outcome: Outcome) -> JsonValue:
    """The answer of a turn.

    Raises:
        AgentsError: it failed; of the class that its agent raised.
    """
    if outcome.ok:
        return outcome.value
    raise error_of(outcome).exception()
