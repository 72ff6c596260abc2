"""One agent asks another: each such turn is a member of the step that asks."""

from __future__ import annotations

from agents.plan import Member
from celery_agents import names
from celery_agents.contracts.ask import Ask
from celery_agents.contracts.base import JsonValue
from celery_agents.contracts.outcome import ErrorInfo, Outcome
from celery_agents.errors import AgentFailedError, StepCancelledError


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


#: Before the name of an agent that goes on in another's place, as its model and its key have it.
HANDOFF = "transfer_to_"


def is_handoff(key: str) -> bool:
    """Return whether the member of that key goes on in its parent's place."""
    return key.startswith(HANDOFF)


def error_of(outcome: Outcome) -> ErrorInfo:
    """The error of a turn that did not succeed; one that was let go was cancelled."""
    return outcome.error or ErrorInfo.of(StepCancelledError())


def value_of(agent: str, outcome: Outcome) -> JsonValue:
    """The answer of an agent's turn.

    Raises:
        AgentFailedError: it failed, for good: it was tried as often as it may be.
    """
    if outcome.ok:
        return outcome.value
    error = error_of(outcome)
    raise AgentFailedError(f"{agent} failed: {error.message}", {"error": error.compact()})
