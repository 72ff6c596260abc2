"""Every error of the system, under one root.

Two branches decide what a retry policy does: :class:`RetryableError` may work when tried
again, :class:`PermanentError` will not. An error crosses the wire as Celery writes it (type,
module, arguments), so each one can be rebuilt from ``message`` and ``details``, and neither
ever holds a secret: what comes from outside is passed through :func:`redact` first.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar, Self

from celery_agents.redaction import redact as redact  # noqa: PLC0414 - to be imported from here


class AgentsError(Exception):
    """The root of all errors of celery-agents."""

    #: The word by which policies, rows and other languages know this error.
    kind: ClassVar[str] = "error"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str = "", details: dict[str, Any] | None = None) -> None:
        self.message = redact(message or (type(self).__doc__ or "").split("\n", 1)[0])
        told = details if isinstance(details, Mapping) else {"told": details}
        self.details: dict[str, Any] = dict(told) if details else {}
        super().__init__(*((self.message, self.details) if self.details else (self.message,)))

    def __str__(self) -> str:
        return self.message

    def __repr__(self) -> str:
        """Without details, in which answers may stand: logs and Flower show this."""
        return f"{type(self).__name__}({self.message!r})"


class RetryableError(AgentsError):
    """The step failed in a way that may pass; its retry policy decides."""

    kind = "transient"
    retryable = True
    #: Whether it uses an attempt up. What was refused for now has not been tried.
    attempted: ClassVar[bool] = True
    #: Whether each further look for what was refused comes as soon as the one before.
    steady: bool = False
    #: What was refused, for whoever lets the step wait; it does not travel.
    refusal: Any = None

    @property
    def retry_after_s(self) -> float | None:
        """Seconds that the other side asked us to wait (``Retry-After``), if it did."""
        try:
            seconds = float(self.details.get("retry_after_s", math.nan))
        except (TypeError, ValueError, OverflowError):  # whoever raised it may have said anything
            return None
        return seconds if math.isfinite(seconds) else None


class LoopStalledError(RetryableError):
    """The step computed on its worker's loop instead of waiting, and was interrupted."""

    kind = "stalled"


class PermanentError(AgentsError):
    """The step failed and would fail again; it is not retried."""

    kind = "permanent"


class RateLimitedError(RetryableError):
    """A provider or service refused for now because too much was asked of it.

    It is no attempt: the step comes again after ``retry_after_s``, else after the policy's
    backoff, as long as its deadline allows. A fallback chain asks the next candidate.
    """

    kind = "rate_limited"
    attempted = False


class ProviderUnavailableError(RetryableError):
    """A provider or service did not answer, or answered that it is down."""

    kind = "unavailable"


class DeadlineExceededError(RetryableError):
    """A step did not end within its ``timeout_s``; its work was cancelled."""

    kind = "timeout"


class BadAnswerError(RetryableError):
    """An agent answered something that could not be read as what was asked for."""

    kind = "bad_answer"


class BreakerOpenError(RetryableError):
    """The agent failed too often and is left alone for now; nothing was called.

    ``retry_after_s`` says when to come again; a fallback chain or a backup answers at once. It is
    no attempt: the step waits, without a slot, as long as its deadline allows.
    """

    kind = "breaker_open"
    attempted = False


class NotAdmittedError(RetryableError):
    """A limit of the service (``[limits]``) is used up; nothing was asked.

    It is no attempt: the step waits for its turn, without a slot, as long as its deadline allows.
    ``limit`` says for what, ``place`` where it stands, ``retry_after_s`` how long that may take.
    """

    kind = "limited"
    attempted = False


class AwaitsAnswerError(RetryableError):
    """Another step asks the same just now; nothing was asked.

    Its answer will be cached, or is that of a team.

    It is no attempt: the step waits for that answer, without a slot.
    """

    kind = "awaits_answer"
    attempted = False


class RunBusyError(RetryableError):
    """Steps of a failed run are still running; it is undone when they have stopped."""

    kind = "busy"


class JournalUnavailableError(RetryableError):
    """The journal could not be written. Nothing was acknowledged; the step will come again.

    Check that the database answers, its disk has room and may be written.
    """

    kind = "journal"


class BrokerUnavailableError(RetryableError):
    """The Redis broker did not answer. Check ``REDIS_URL`` and that the server is up.

    A publish that failed this way may still have been delivered: sending it again under the
    same id is safe.
    """

    kind = "broker"


class InvalidPayloadError(PermanentError):
    """The arguments of a task do not have the form that its contract asks for."""

    kind = "invalid_payload"


class PayloadTooLargeError(InvalidPayloadError):
    """A payload is above ``payload_limit_bytes``. Put big values elsewhere and pass their id."""

    kind = "payload_too_large"


class IdInUseError(InvalidPayloadError):
    """Another call was made under this id before. One id names one call, with one payload."""

    kind = "id_in_use"

    @classmethod
    def of(cls, run_id: str) -> Self:
        """The error for a call under this id."""
        return cls(
            f"The id {run_id} names another call: with another payload, or for another task. "
            "Choose another id for this one."
        )


class StreamConflictError(PermanentError):
    """A stream has another length than whoever appends to it expected: somebody was quicker.

    Nothing was appended. ``details["length"]`` has what it is; read what came, and decide anew.
    """

    kind = "conflict"


class AnswerTooLargeError(PermanentError):
    """An answer is above ``answer_limit_bytes``. Keep big values elsewhere, answer with their id.

    What it cost is counted.
    """

    kind = "answer_too_large"


class UncertainCallError(PermanentError):
    """A call that must not be made twice was begun by an attempt that never told how it went.

    Whoever holds what it changes can say, by the key that ``details`` has.
    """

    kind = "uncertain"

    @classmethod
    def of(cls, name: str, begun_at: float, key: str) -> Self:
        """The error for a call that was begun then, in seconds since 1970, under that key."""
        at = datetime.fromtimestamp(begun_at, UTC).isoformat(timespec="seconds")
        # Not "under the key": that reads like a secret, which would be hidden.
        told = f"{name} was begun at {at} as {key}, and nobody knows whether it was done"
        return cls(f"{told}. It is not repeated.", {"begun_at": at, "key": key})


class LimitReachedError(PermanentError):
    """The agents of a run asked too many others, too deep, handed over too often, or cost too much.

    Nobody was asked, and no call was made. The message names the limit: ``max_steps``,
    ``max_depth``, ``max_width``, ``max_handoffs`` or ``max_cost``, an option of the run or the
    operator's setting.
    """

    kind = "limit"


class BudgetExceededError(PermanentError):
    """A budget is spent; the call was not made.

    ``budget`` says which one; ``details`` has what was spent of it. What was done is kept: a vote
    counts the ballots that are in, a fallback asks the next candidate or has its default.
    """

    kind = "budget_exceeded"


class ContextExceededError(PermanentError):
    """A request has more tokens than its model takes, by an estimate; it was not made.

    A fallback chain asks the next candidate, who may be of a larger model. ``details`` has the
    numbers.
    """

    kind = "context_exceeded"


class UnknownAgentError(PermanentError):
    """No agent of that name is registered with the worker that took the step."""

    kind = "unknown_agent"


class ConfigurationError(PermanentError):
    """A setting, an agent's entry or an installed package is missing or wrong."""

    kind = "configuration"


class PriceUnknownError(ConfigurationError):
    """A cost has to be bounded and the price of its model is not known; nothing was called.

    The message says which line of ``agents.toml`` to write.
    """

    kind = "price_unknown"


class MissingKeyError(ConfigurationError):
    """A provider's key is not in the worker's environment."""

    kind = "missing_key"


class ProviderRefusedError(PermanentError):
    """A provider refused the request itself (bad key, no credit, unknown model, blocked content).

    A quota that is used up for the day or for good is one too: waiting would not help.
    """

    kind = "refused"


class AddressRefusedError(PermanentError):
    """A URL of somebody else leads into a private network; nothing was sent there."""

    kind = "address_refused"


class BlockedError(PermanentError):
    """A guard does not let what an agent is asked, or what it answered, pass.

    ``guard`` says which, ``side`` whether it was the ``input`` or the ``output``. Of a fallback
    the next candidate is asked.
    """

    kind = "blocked"


class UnreadableValueError(PermanentError):
    """An encrypted value cannot be read: its key is missing, or somebody changed or moved it."""

    kind = "unreadable"


class ClientLacksError(PermanentError):
    """A tool asks its client for what that has not said it can do; ``details`` name it."""

    kind = "client_lacks"


class AgentFailedError(PermanentError):
    """An agent's own code raised an error that it did not mark as retryable."""

    kind = "agent_failed"


class FlowError(PermanentError):
    """A flow's code does what none may: I/O, threads, waiting for what never comes."""

    kind = "flow"


class HistoryTooLargeError(PermanentError):
    """A flow's history is so long that it may ask for nothing more, but ``run.again(state)``."""

    kind = "history_too_large"


class UnknownFlowError(PermanentError):
    """No flow of that name and version is registered with the worker that took the step."""

    kind = "unknown_flow"


class UnknownActorError(PermanentError):
    """No actor of that name, or with that method, is registered with the worker that was asked."""

    kind = "unknown_actor"


class ActorEndedError(PermanentError):
    """The actor was cancelled, or is not there: nobody takes the message up."""

    kind = "actor_ended"


class ActorCycleError(PermanentError):
    """A chain of calls comes back to an actor that waits for its answer; nobody was asked."""

    kind = "actor_cycle"

    @classmethod
    def of(cls, chain: Sequence[str]) -> Self:
        """The error of that chain, the first one first."""
        shown = " → ".join(chain)
        told = f"The call comes back to an actor that waits for it, or is too long: {shown}"
        return cls(told, {"chain": [*chain]})


class AllCandidatesFailedError(PermanentError):
    """Every candidate of a fallback chain failed; ``details["errors"]`` has each one's error."""

    kind = "all_failed"


class NoDecisionError(PermanentError):
    """A vote ended without a decision; ``details["decision"]`` has the tally."""

    kind = "no_decision"


class CompensationFailedError(PermanentError):
    """Steps of a failed run could not be undone; ``details`` says which, and which were."""

    kind = "compensation_failed"


class StepCancelledError(PermanentError):
    """The step was cancelled before it finished."""

    kind = "cancelled"


class StepDeadError(PermanentError):
    """The step used up its attempts (each may have killed its worker) and was given up."""

    kind = "dead"


class NotAllowedError(PermanentError):
    """Somebody is known, and may not do that."""

    kind = "forbidden"


class ResultTimeoutError(AgentsError):
    """The result did not come within the time given to ``get``. The run itself goes on."""

    kind = "result_timeout"
