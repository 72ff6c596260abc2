"""Ends of steps: outcomes, answers, errors and their cost."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Self

from pydantic import Field

import celery_agents.errors as errors_module
from celery_agents.contracts.base import Contract, JsonValue, TrustedJson
from celery_agents.contracts.compensation import Compensation
from celery_agents.contracts.conversation import Conversation
from celery_agents.errors import AgentFailedError, AgentsError, RetryableError, redact
from celery_agents.redaction.cleaning import hidden
from celery_agents.values import jsonable


class State(StrEnum):
    """The state of a step. The last five are final."""

    READY = "ready"  # may be claimed, from its ready_at on
    RUNNING = "running"  # claimed under a lease
    WAITING = "waiting"  # expanded: waits for its members, holds no worker slot
    SUCCEEDED = "succeeded"  # ended with a value
    FAILED = "failed"  # ended with an error
    SKIPPED = "skipped"  # not started, because its join had been decided
    CANCELLED = "cancelled"  # stopped on request
    DEAD = "dead"  # gave up: attempts used up without an end

    @property
    def final(self) -> bool:
        """True when the step has ended."""
        return self not in _OPEN


_OPEN = frozenset({State.READY, State.RUNNING, State.WAITING})


class Usage(Contract):
    """The cost of work. Adds up with ``+``. ``cost_usd`` is None where no price is known."""

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cost_usd: float | None = 0.0
    #: What answers from a cache would have cost.
    saved_usd: float = 0.0

    def __add__(self, other: Usage) -> Usage:
        unknown = self.cost_usd is None or other.cost_usd is None
        return Usage(
            calls=self.calls + other.calls,
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
            cost_usd=None if unknown else (self.cost_usd or 0.0) + (other.cost_usd or 0.0),
            saved_usd=self.saved_usd + other.saved_usd,
        )


#: What cost nothing.
FREE = Usage()


class Answer(Contract):
    """The answer of an agent, or of one call of it, with its cost."""

    value: JsonValue
    usage: Usage = FREE
    #: What the agent said and which tools it called before the answer, for its session.
    turns: Conversation = ()
    #: Of a call, where a router chose who answers: the agent, with its key where it has several.
    deployment: str | None = None


class ErrorInfo(Contract):
    """An error as it stands in rows, outcomes and decisions: already redacted."""

    kind: str
    message: str
    retryable: bool = False
    type: str = "AgentsError"
    details: dict[str, TrustedJson] = Field(default_factory=dict)

    @classmethod
    def of(cls, error: BaseException) -> Self:
        """Describe any exception; one that is not ours counts as permanent ``agent_failed``."""
        if isinstance(error, AgentsError):
            return cls(
                kind=error.kind,
                message=error.message,
                retryable=error.retryable,
                type=type(error).__name__,
                details=_told(error.details),
            )
        text = redact(f"{type(error).__name__}: {error}")
        return cls(kind=AgentFailedError.kind, message=text, type=AgentFailedError.__name__)

    def exception(self) -> AgentsError:
        """The exception to raise for this error, of its own class where that is known."""
        known: Any = getattr(errors_module, self.type, None)
        if not (isinstance(known, type) and issubclass(known, AgentsError)):
            known = RetryableError if self.retryable else AgentFailedError
        error: AgentsError = known(self.message, dict(self.details) or None)
        return error


def _told(details: Any) -> dict[str, Any]:
    """Return an error's details as JSON; whoever raised it may have put anything there."""
    told = hidden(jsonable(details)) if details else {}
    return told if isinstance(told, dict) else {"told": told}


class Outcome(Contract):
    """The one way in which a step ends, with what it cost.

    Written, turns, error and value come last: the journal reads what stands before them without
    them (app/journal/schema/heads.py).
    """

    state: State
    agent: str | None = None
    member: str | None = None  # the key under which its parent knows it
    usage: Usage = FREE
    attempts: int = 0
    #: Seconds from its first claim to its end, waits between attempts and for members too. None:
    #: it never began.
    duration_s: float | None = None
    #: Exchanges of its session, the oldest ones, that its agent was not told: the window is full.
    left_out: int = 0
    #: The agent that the conversation was handed over to, and that goes on with its session.
    active: str | None = None
    #: Who answered, where a router chose: the agent, and behind a # the name of its key's variable
    #: where it has several.
    deployment: str | None = None
    compensation: Compensation | None = None  # of what succeeded: who can undo it
    #: Of a turn that was handed the conversation: what was said and which tools were called before
    #: its answer, for the session of whoever handed it over.
    turns: Conversation = ()
    error: ErrorInfo | None = None
    value: TrustedJson = None

    @classmethod
    def of(cls, answer: Answer, **about: Any) -> Self:
        """The success of whoever gave this answer, with other fields of it."""
        return cls(state=State.SUCCEEDED, value=answer.value, usage=answer.usage, **about)

    def compact(self) -> dict[str, Any]:
        """As of all contracts; the value is not looked at."""
        told = self._in_short() or self.model_dump(
            mode="json", exclude={"value"}, exclude_defaults=True
        )
        return told if self.value is None else told | {"value": self.value}

    def _in_short(self) -> dict[str, Any] | None:
        """The same of a step that only answered, which takes a third of the time; else None."""
        if self.usage is not FREE or self.error or self.turns or self.compensation:
            return None
        told: dict[str, Any] = {"state": str(self.state)}
        for name, default in _SHORT:
            if (value := getattr(self, name)) != default:
                told[name] = value
        return told

    @property
    def ok(self) -> bool:
        """True when the step succeeded."""
        return self.state is State.SUCCEEDED


#: The fields of an outcome that are JSON as they stand, in their order, with their defaults.
_SHORT = tuple(
    (name, field.default)
    for name, field in Outcome.model_fields.items()
    if name not in {"state", "usage", "compensation", "turns", "error", "value"}
)
