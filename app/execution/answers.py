"""Results of a step's code, checked before they go to its row, to Redis and to what follows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from agents.plan import Expand
from app.journal.schema.rows import Claimed
from celery_agents.contracts.outcome import Answer, ErrorInfo, Outcome, State, Usage
from celery_agents.errors import (
    AgentFailedError,
    AgentsError,
    AnswerTooLargeError,
    LoopStalledError,
    StepCancelledError,
    StepDeadError,
)
from celery_agents.values import DEPTH, problem
from celery_agents.wire.messages import to_json

#: Characters of JSON that escapes, for a character or a byte of a text, at the most.
ESCAPED = 6
#: Levels that patterns put around an answer.
_ROOM = 20
#: Kinds of values, and bits of integers, that no limit is too small for.
_SHORT, _WORD_BITS = frozenset({bool, float, type(None)}), 64


@dataclass(frozen=True, slots=True)
class Failed:
    """The step's code raised."""

    error: AgentsError


@dataclass(frozen=True, slots=True)
class Stopped:
    """The work was cancelled: on request, or because its worker stops."""


@dataclass(frozen=True, slots=True)
class Waits:
    """It is not the step's turn in its session; its row is given back until then."""


#: What comes out of a step's code.
Result = Answer | Outcome | Expand | Failed | Stopped | Waits


def result_of(returned: Any) -> Answer | Outcome | Expand:
    """Return a typed result of what a step's function returned; a bare value cost nothing."""
    return returned if isinstance(returned, _TYPED) else Answer(value=returned)


_TYPED = (Answer, Outcome, Expand)


def answered(answer: Answer, claim: Claimed) -> Outcome:
    """The end of a step whose agent answered."""
    return Outcome.of(answer, **_common(claim))


def decided(outcome: Outcome, claim: Claimed) -> Outcome:
    """The end of a step that says itself how it ended; a backup that answered stays named."""
    told = _common(claim) | ({"agent": outcome.agent} if outcome.agent else {})
    return outcome.model_copy(update={k: v for k, v in told.items() if v is not None})


def failed(error: AgentsError, claim: Claimed, spent: Usage) -> Outcome:
    """The end of a step whose code raised; it cost what its calls did."""
    state = State.FAILED
    if isinstance(
        error, LoopStalledError
    ):  # its attempts are used up; who looks after it must know
        told = f"Given up after {claim.attempt} attempts. The last: {error}"
        state, error = State.DEAD, StepDeadError(told)
    return Outcome(state=state, error=ErrorInfo.of(error), usage=spent, **_common(claim))


def cancelled(claim: Claimed, spent: Usage) -> Outcome:
    """The end of a step that was stopped; it cost what its calls did."""
    error = ErrorInfo.of(StepCancelledError())
    return Outcome(state=State.CANCELLED, error=error, usage=spent, **_common(claim))


def _common(claim: Claimed) -> dict[str, Any]:
    return {
        "agent": claim.agent,
        "member": claim.member,
        "attempts": claim.attempt,
        "duration_s": claim.spent_s,
    }


def too_large(value: Any, limit_bytes: int) -> AnswerTooLargeError | None:
    """The error for a value that takes more than the limit, as JSON that escapes."""
    if _is_small(value, limit_bytes):
        return None
    size = len(to_json(value))
    if size <= limit_bytes:
        return None
    return AnswerTooLargeError(
        f"The answer has {size:,} bytes, the limit is {limit_bytes:,} (answer_limit_bytes). "
        "Keep big values elsewhere and answer with their id or URL."
    )


def _is_small(value: Any, limit_bytes: int) -> bool:
    """Return whether that is seen without writing it."""
    kind = type(value)
    if kind is str:
        return ESCAPED * len(value) < limit_bytes
    return kind in _SHORT or (kind is int and value.bit_length() <= _WORD_BITS)


def kept(outcome: Outcome, limit_bytes: int, *, known: bool = False) -> Outcome:
    """Return the outcome as it can be stored: a failed one of the same cost if its value cannot.

    ``known``: its value was looked at already, as what a call answered.
    """
    if outcome.error is not None:
        return outcome.model_copy(update={"error": bounded(outcome.error, limit_bytes)})
    if known or (refused := _refusal(outcome.value, limit_bytes)) is None:
        return outcome
    failed = {"state": State.FAILED, "value": None, "error": ErrorInfo.of(refused)}
    return outcome.model_copy(update={**failed, "compensation": None})


def _refusal(value: Any, limit_bytes: int) -> AgentsError | None:
    if (wrong := problem(value, depth=DEPTH + _ROOM)) is not None:
        return AgentFailedError(f"The answer cannot be kept: {wrong}.")
    return too_large(value, limit_bytes)


def bounded(error: ErrorInfo, limit_bytes: int) -> ErrorInfo:
    """Return the error as it can be stored, without details above the limit."""
    if error.details and (size := len(to_json(error.details))) > limit_bytes:
        left_out = f"{size:,} bytes of details, above answer_limit_bytes"
        return error.model_copy(update={"details": {"left_out": left_out}})
    return error
