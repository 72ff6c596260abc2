"""An attempt at a step: its row claimed, its code performed, its end written.

It knows no Celery: what is to become of the message, it tells as an :data:`Ending`.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, assert_never

from agents.patterns.plan import Expand, within
from app.concurrency.fibers import blocking, sleep, wait
from app.execution.answers import (
    Failed,
    Result,
    Stopped,
    answered,
    bounded,
    cancelled,
    decided,
    failed,
    kept,
    result_of,
)
from app.execution.context import Step
from app.execution.publish import publish
from app.execution.runtime import Active, Runtime
from app.journal.schema.rows import Aftermath, Claimed, Finished, NewStep, Refusal, Refused
from app.journal.steps.shared import SHARED
from app.messaging.intake import past
from app.pool.permits import permit
from celery_agents.contracts.ask import StepOptions
from celery_agents.contracts.outcome import Answer, ErrorInfo, Outcome, State, Usage
from celery_agents.errors import (
    AgentFailedError,
    AgentsError,
    DeadlineExceededError,
    InvalidPayloadError,
    JournalUnavailableError,
    RetryableError,
    StepCancelledError,
    redact,
)
from celery_agents.noted import note
from celery_agents.wire.messages import fingerprint

log = logging.getLogger(__name__)
T = TypeVar("T")

#: Pauses of a worker whose journal is away, before it gives the message back or tries again.
JOURNAL_PAUSE_S = (0.5, 5.0)
#: A finished step's outcome is kept and written for so long before the step is given back.
JOURNAL_PATIENCE_S = 60.0
_FREE = Usage()
#: What an outcome has beside what its agent said, and a store may refuse.
_PLAIN = {"agent", "member", "usage", "attempts", "duration_s"}


class Code(Protocol):
    """The code of a kind of step."""

    name: str

    @property
    def run(self) -> Callable[..., Any]:
        """The function of ``(step, request)``; a coroutine function runs on the loop."""
        ...

    def parse(self, args: Any, kwargs: Any, *, known: bool = False) -> StepOptions:
        """The request in a message or, ``known``, in a row."""
        ...


@dataclass(frozen=True, slots=True)
class Ended:
    """The step has ended, now or before."""

    outcome: Outcome
    claim: Claimed | Finished
    other: bool = False  # this message asks for something else than the row of its id


@dataclass(frozen=True, slots=True)
class Again:
    """The step is tried again after a while; the row says so already."""

    claim: Claimed
    error: RetryableError
    delay_s: float


@dataclass(frozen=True, slots=True)
class Left:
    """The message has done its work, or there is none for it."""

    why: str


#: What is to become of a message.
Ending = Ended | Again | Left


@dataclass(frozen=True, slots=True)
class Asked:
    """A message's request for a step; without ``new``, whatever the row of its id says."""

    id: str
    new: NewStep | None = None
    request: StepOptions | None = None
    expires: object = None  # Celery's header: when nobody wants it any more


def attempted(runtime: Runtime, code: Code, asked: Asked, active: Active) -> Ending:
    """Claim the row of a message and bring the step to an end, or leave it.

    Raises:
        InvalidPayloadError: the journal takes no such row.
        JournalUnavailableError: the message is to be given back.
    """
    try:
        claim = wait(runtime.journal.claim(asked.id, asked.new))
    except JournalUnavailableError:
        raise
    except Exception as error:  # the database takes no such row, or cannot end the one there is
        text = redact(f"{type(error).__name__}: {getattr(error, 'orig', None) or error}")
        if asked.new is None:
            return Left(f"{asked.id}: not taken, and woken more seldom each time: {text}")
        raise InvalidPayloadError(f"The journal does not take the step: {text}") from error
    match claim:
        case Refused(reason):
            return _refused(reason, asked)
        case Finished():
            runtime.follow(claim.aftermath)
            return Ended(claim.outcome, claim, other=_is_other(asked.new, claim))
        case Claimed():
            return Attempt(runtime, code, asked, claim, active).run()


def _refused(reason: Refusal, asked: Asked) -> Left:
    if reason is Refusal.MISSING:
        log.warning("%s has no row; its message is dropped", asked.id)
    if reason is Refusal.LAPSED:  # the next heartbeat brings a new one
        raise JournalUnavailableError("This worker has no lease.")
    return Left(f"{asked.id}: {reason}")


def _is_other(new: NewStep | None, row: Claimed | Finished) -> bool:
    """Return whether a message and the row of its id differ; a row without payload fits any."""
    if new is None or not row.payload:
        return False
    asked = fingerprint(new.task, new.payload["args"], new.payload["kwargs"])
    return asked != fingerprint(row.task, row.payload["args"], row.payload["kwargs"])


class Attempt:
    """One claim of a step, from its code to its end."""

    def __init__(
        self, runtime: Runtime, code: Code, asked: Asked, claim: Claimed, active: Active
    ) -> None:
        self._runtime = runtime
        self._journal = runtime.journal
        self._code = code
        self._asked = asked
        self._claim = claim
        self._active = active
        self._step: Step | None = None
        # The row's payload, not the message's, unless the row was made of this very message.
        self._request = asked.request if claim.token == 1 else None

    @property
    def request(self) -> StepOptions:
        """The step's arguments and options, parsed once."""
        if self._request is None:
            payload = self._claim.payload
            self._request = self._code.parse(payload["args"], payload["kwargs"], known=True)
        return self._request

    def run(self) -> Ending:
        """Perform the code and write down what came out."""
        claim = self._claim
        try:
            if claim.token > 1 and _is_other(self._asked.new, claim):
                return self._leave()
            if (gone := self._complete()) is not None:
                return gone
            self._runtime.follow(Aftermath(cancels=claim.cancels))
            return self._end(self._perform())
        except _NotWrittenError as error:
            # The heartbeat gives it back in a while, and its attempts are counted.
            return Left(f"{claim.id}: cannot be ended: {error.told}")

    def _complete(self) -> Left | None:
        """Fill in what the payload shares with its parent's, unless that is gone."""
        claim = self._claim
        if claim.parent_id is not None and SHARED in claim.payload:
            try:
                claim = self._keep_trying(lambda: blocking(self._journal.whole, claim))
            except _NotWrittenError as gone:
                return Left(f"{claim.id}: {gone.told}")
        self._claim = self._active.claim = claim
        return None

    def _leave(self) -> Left:
        """Leave the row: its id names another call under way, which has a message of its own."""
        log.warning("%s names another call; this one is refused", self._claim.id)
        given_back = self._keep_trying(lambda: wait(self._journal.postpone(self._claim, delay_s=0)))
        self._free()
        self._runtime.follow(given_back)
        return Left(f"{self._claim.id}: names another call")

    def _perform(self) -> Result:
        """Run the code under its deadline; whatever it raises becomes a value."""
        try:
            request = self.request
            self._step = Step(self._runtime, self._claim, self._active)
            if not inspect.iscoroutinefunction(self._code.run):  # a pattern: it only decides
                return result_of(blocking(self._code.run, self._step, request))
            with permit():
                return self._ask(request)
        except asyncio.CancelledError:
            sleep(0)  # its coroutine hears of it before anybody else does
            stopped = self._active.cancelled or self._runtime.stopping
            itself = AgentFailedError("The agent's code cancelled itself.")
            return Stopped() if stopped else Failed(itself)
        except AgentsError as error:
            return Failed(error)
        except Exception as error:  # noqa: BLE001 - it is noted
            about = (self._code.name, self._claim.id)
            level = logging.ERROR
            note(log, "step", "%s of %s failed", *about, error=error, level=level, trace=True)
            return Failed(AgentFailedError(redact(f"{type(error).__name__}: {error}")))

    def _ask(self, request: StepOptions) -> Result:
        """Run the coroutine on the loop, under what is left of its time."""
        if self._runtime.stopping:  # it waited for its permit until the worker had to stop
            return Stopped()
        limit, left_s = request.timeout_s, self._claim.left_s
        limit = limit or self._runtime.settings.step_timeout_s
        if left_s is not None:
            limit = min(limit, left_s)
        if limit <= 0:
            return Failed(DeadlineExceededError("The step's deadline passed before it could run."))
        if past(self._asked.expires):  # it waited for its permit until then
            late = StepCancelledError("The step expired before its agent could be asked.")
            return Outcome(state=State.CANCELLED, error=ErrorInfo.of(late))
        active = self._active
        active.work = self._runtime.loop.submit(_within(limit, self._code.run(self._step, request)))
        if active.cancelled:  # asked to stop between the claim and here
            active.work.cancel()
        return result_of(wait(active.work))

    def _end(self, result: Result) -> Ending:
        """Write down what came out."""
        match result:
            case Answer():
                return self._finish(answered(result, self._claim))
            case Outcome():
                return self._finish(decided(result, self._claim))
            case Expand():
                return self._expand(result)
            case Failed(error):
                return self._fail(error)
            case Stopped():
                return self._finish(self._stopped()) if self._active.cancelled else self._hand_on()
            case _:
                assert_never(result)

    def _fail(self, error: AgentsError) -> Ending:
        """Try again if the error and the policy allow it, unless it was cancelled meanwhile."""
        if isinstance(error, RetryableError):
            if self._active.cancelled:
                return self._finish(self._stopped())
            if (delay_s := self._retry_delay(error)) is not None:
                return self._try_again(error, delay_s)
        return self._finish(failed(error, self._claim, self._spent))

    def _finish(self, outcome: Outcome) -> Ending:
        """Write the outcome; if the journal refuses it, a failed one with the same cost."""
        outcome = self._kept(outcome)
        try:
            return self._write_end(outcome)
        except _NotWrittenError as refused:
            told = outcome.model_dump(include=_PLAIN)
            error = ErrorInfo.of(refused.told)
        return self._write_end(Outcome(state=State.FAILED, error=error, **told))

    def _write_end(self, outcome: Outcome) -> Ending:
        aftermath = self._keep_trying(lambda: wait(self._journal.finish(self._claim, outcome)))
        if not aftermath.applied:
            return self._too_late()
        self._runtime.follow(aftermath)
        return Ended(outcome, self._claim)

    def _hand_on(self) -> Ending:
        """Give the step back with its finished calls, since this worker stops."""
        ended = self._postpone(delay_s=0)
        return ended or Left(f"{self._claim.id}: given back, this worker stops")

    def _try_again(self, error: RetryableError, delay_s: float) -> Ending:
        settings = self._runtime.settings
        ended = self._postpone(
            delay_s=delay_s,
            error=bounded(ErrorInfo.of(error), settings.answer_limit_bytes),
            refused_within_s=None if error.attempted else settings.refusal_limit_s,
        )
        if ended is not None:
            return ended
        self._free()  # its next message may be there before we are gone
        if delay_s > settings.countdown_limit_s:
            return Left(f"{self._claim.id}: tried again in {delay_s:.0f} s, by recovery")
        return Again(self._claim, error, delay_s)

    def _postpone(self, **how: Any) -> Ended | Left | None:
        """Let another claim go on; return how it ended if it was cancelled or lost meanwhile."""
        if (step := self._step) is not None:
            # Another attempt would make finished calls again that are not written yet.
            self._keep_trying(lambda: blocking(step.calls_written))
        stopped = self._kept(self._stopped())
        postponed = self._keep_trying(
            lambda: wait(self._journal.postpone(self._claim, cancelled=stopped, **how))
        )
        if not postponed.applied:
            return self._too_late()
        self._runtime.follow(postponed)
        return None if postponed.outcome is None else Ended(postponed.outcome, self._claim)

    def _expand(self, plan: Expand) -> Ending:
        """Let the step wait for its members: ``Task.replace`` by a chord of them and itself.

        Celery's own would send the chord's body along with each member, and look at all members
        several times. The journal holds the body and counts the members, so a write of their
        messages is all that is left to do.
        """
        left_s = self._claim.left_s
        if left_s is not None and left_s <= 0:
            return self._fail(DeadlineExceededError("Its time was over before all had been asked."))
        plan = within(plan, left_s)
        looked_at = None if self._step is None else self._step.ended_members
        try:
            expanded = self._keep_trying(
                lambda: wait(self._journal.expand(self._claim, plan, ended_members=looked_at))
            )
        except _NotWrittenError as refused:
            return self._finish(failed(refused.told, self._claim, self._spent))
        if not expanded.applied:
            return self._finish(self._stopped())
        self._free()  # quick members may wake it before all are sent
        self._runtime.follow(expanded)
        wait_s = plan.join.timeout_s or 0.0
        if expanded.timer is not None and wait_s <= self._runtime.settings.countdown_limit_s:
            # Else recovery sees that it is late: a worker would hold the message until then.
            publish(self._runtime.app, [expanded.timer], countdown=wait_s)
        publish(self._runtime.app, expanded.members)
        return Left(f"{self._claim.id}: waits for its members")

    # -- parts of an end

    @property
    def _spent(self) -> Usage:
        return _FREE if self._step is None else self._step.spent

    def _stopped(self) -> Outcome:
        return cancelled(self._claim, self._spent)

    def _kept(self, outcome: Outcome) -> Outcome:
        known = self._step is not None and self._step.has_called
        return kept(outcome, self._runtime.settings.answer_limit_bytes, known=known)

    def _free(self) -> None:
        """Forget the step here, so that this process can take its next message."""
        self._runtime.active.pop(self._claim.id, None)

    def _too_late(self) -> Left:
        """Leave the message: another worker had the lease, or the claim itself is lost.

        A claim's commit waits for no disk, so a database that crashed may have forgotten the row
        that it made. Nothing was paid then (see writer.py); the message runs once more.

        Raises:
            JournalUnavailableError: there is no such row any more.
        """
        if not blocking(self._journal.known, self._claim.id):
            raise JournalUnavailableError("The database lost its row, in a crash.")
        return Left(f"{self._claim.id}: too late, another worker had its lease")

    def _keep_trying(self, write: Callable[[], T]) -> T:
        """Repeat a write while the journal is away, so that finished work is not lost."""
        give_up = time.monotonic() + JOURNAL_PATIENCE_S
        while True:
            try:
                return write()
            except JournalUnavailableError as error:
                if time.monotonic() > give_up:
                    raise
                text = "The outcome of %s is not written yet"
                note(log, "outcome", text, self._claim.id, error=error)
                sleep(random.uniform(*JOURNAL_PAUSE_S))  # noqa: S311 - spreads load
            except AgentsError as error:
                raise _NotWrittenError(error) from error
            except Exception as error:
                log.exception("The journal refuses what came out of %s", self._claim.id)
                raise _NotWrittenError(error) from error

    def _retry_delay(self, error: RetryableError) -> float | None:
        """Return the seconds until the next try; None when there is none, by count or deadline.

        What was refused comes again until its deadline, which its first refusal gives it if it
        had none; only what was tried has its attempts counted.
        """
        claim, policy = self._claim, self.request.retry
        rng, after_s = random.Random(), error.retry_after_s  # noqa: S311 - jitter
        left_s = claim.left_s
        if not error.attempted:
            within_s = self._runtime.settings.refusal_limit_s if left_s is None else left_s
            return policy.refused_delay_s(
                claim.token, rng=rng, retry_after_s=after_s, within_s=within_s
            )
        delay = policy.delay_s(claim.attempt, rng=rng, retry_after_s=after_s)
        too_late = left_s is not None and (delay or 0) >= left_s
        return None if too_late else delay


class _NotWrittenError(Exception):
    """The journal refused a write for what it is, not for being away."""

    def __init__(self, error: Exception) -> None:
        text = redact(f"{type(error).__name__}: {getattr(error, 'orig', None) or error}")
        said = AgentFailedError(f"The journal does not take what came out: {text}")
        self.told = error if isinstance(error, AgentsError) else said
        super().__init__(text)


async def _within(limit_s: float, work: Any) -> Any:
    limit = asyncio.timeout(limit_s)
    try:
        async with limit:
            return await work
    except TimeoutError:
        if not limit.expired():  # the agent's own
            raise
        raise DeadlineExceededError(
            f"The step did not end within {limit_s:.3g} s; its work was cancelled."
        ) from None
