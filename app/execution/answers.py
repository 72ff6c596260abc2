"""What may come out of a step, before it goes to its row, to Redis and to whatever follows."""

from __future__ import annotations

from typing import Any

from celery_agents.contracts.outcome import ErrorInfo, Outcome, State
from celery_agents.errors import AgentFailedError, AgentsError, AnswerTooLargeError
from celery_agents.values import DEPTH, problem
from celery_agents.wire.messages import to_json

#: Characters of JSON that escapes, for a character or a byte of a text, at the most.
ESCAPED = 6
#: Levels that patterns put around an answer.
_ROOM = 20


def too_large(value: Any, limit_bytes: int) -> AnswerTooLargeError | None:
    """The error for a value that takes more than the limit, as JSON that escapes."""
    if value is None or (type(value) is str and ESCAPED * len(value) < limit_bytes):
        return None
    size = len(to_json(value))
    if size <= limit_bytes:
        return None
    return AnswerTooLargeError(
        f"The answer has {size:,} bytes, the limit is {limit_bytes:,} (answer_limit_bytes). "
        "Keep big values elsewhere and answer with their id or URL."
    )


def kept(outcome: Outcome, limit_bytes: int, *, known: bool = False) -> Outcome:
    """The outcome as it can be kept: a failed one in place of another, with what it cost.

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
    """The error as it is kept; details above the limit are left out."""
    if error.details and (size := len(to_json(error.details))) > limit_bytes:
        left_out = f"{size:,} bytes of details, above answer_limit_bytes"
        return error.model_copy(update={"details": {"left_out": left_out}})
    return error
