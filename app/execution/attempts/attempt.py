"""An attempt at a step: its row claimed, its code performed, its end written.

It knows no Celery: what is to become of the message, it tells as an :data:`Ending`.
"""

from __future__ import annotations

import inspect
import logging
import math
import random
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from typing import Any, Protocol, assert_never

from agents.plan import Expand, within
from app.admission.limits.tickets import NotAdmitted
from app.caching.waiting import Awaits
from app.concurrency.fibers import blocking, wait
from app.execution.answers import (
    Failed,
    Result,
    Stopped,
    Waits,
    answered,
    bounded,
    decided,
    failed,
)
from app.execution.attempts.ends import Again, Ended, Ending, Ends, Left
from app.execution.attempts.performing import decided_by, on_loop, valued
from app.execution.attempts.unwritten import once_written
from app.execution.calls.calls import usage_of
from app.execution.calls.memory import embed_learned
from app.execution.context import Step
from app.execution.patience import NotWrittenError, keep_trying, reason_of
from app.execution.publish import publish
from app.execution.runtime import Active, Runtime
from app.execution.sessions import Talk, joined
from app.journal.schema.rows import Claim, Claimed, Finished, NewStep, Refusal, Refused, Wake
from app.journal.schema.sealed import opened_claim
from app.journal.steps.shared import SHARED
from app.messaging.intake import past
from app.pool.permits import permit
from app.telemetry.bound import BoundStep, bound, ends_as, lately
from celery_agents import names
from celery_agents.contracts.ask import Ask, StepOptions
from celery_agents.contracts.outcome import Answer, ErrorInfo, Outcome, State, Usage
from celery_agents.contracts.policies import RetryPolicy
from celery_agents.contracts.schema import form_of
from celery_agents.errors import (
    AgentsError,
    DeadlineExceededError,
    InvalidPayloadError,
    JournalUnavailableError,
    RetryableError,
    StepCancelledError,
    UnreadableValueError,
)
from celery_agents.light import light
from celery_agents.noted import noting
from celery_agents.wire.ids import begun_at
from celery_agents.wire.messages import fingerprint

log = logging.getLogger(__name__)


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

    def is_brief(self, request: Any) -> bool:
        """Return whether the code of a pattern takes a moment, and waits in fibers alone."""
        ...


@light(frozen=True, slots=True)
class Received:
    """A message's request for a step; without ``new``, whatever the row of its id says."""

    id: str
    new: NewStep | None = None
    request: StepOptions | None = None
    expires: object = None  # Celery's header: when nobody wants it any more
    until: float = -math.inf  # until then what its end begins may run on here
    #: Told of each that ran on so: its claim, how it ended, and how long that took.
    tells: Callable[[Claimed, Ending, float], None] | None = None
    claim: Claimed | None = None  # where its row was claimed ahead of it


def attempted(runtime: Runtime, code: Code, asked: Received, active: Active) -> Ending:
    """Claim the row of a message and bring the step to an end, or leave it.

    Raises:
        InvalidPayloadError: the journal takes no such row.
        JournalUnavailableError: the message is to be given back.
    """
    try:
        claim: Claim = asked.claim or wait(runtime.journal.claim(asked.id, asked.new))
    except JournalUnavailableError:
        raise
    except Exception as error:  # the database takes no such row, or cannot end the one there is
        text = reason_of(error)
        if asked.new is None:
            return Left(f"{asked.id}: not taken, and woken more seldom each time: {text}")
        raise InvalidPayloadError(f"The journal does not take the step: {text}") from error
    try:
        claim = opened_claim(runtime.seals, claim, asked.new)
    except UnreadableValueError as error:
        return _unreadable(runtime, claim, error)
    match claim:
        case Refused(reason):
            return _refused(reason, asked)
        case Finished():
            runtime.follow(claim.aftermath)
            ends_as(claim.id, claim.outcome.state, _kind(claim.outcome))
            return Ended(claim.outcome, claim, other=_is_other(asked.new, claim))
        case Claimed():
            if runtime.metrics is not None:
                runtime.metrics.taken(claim.task, waited_s(claim))
            return _run_on(runtime, code, asked, Attempt(runtime, code, asked, claim, active))


def _run_on(runtime: Runtime, code: Code, asked: Received, attempt: Attempt) -> Ending:
    """Run an attempt, then those that the end of the one before has begun; how the first ended."""
    first = last = _ran(runtime, attempt)
    while isinstance(last, Ended) and (claim := last.then) is not None:
        active = runtime.active[claim.id] = Active()
        try:
            if runtime.metrics is not None:
                once_written(claim, partial(runtime.metrics.taken, claim.task, waited_s(claim)))
            own, began = Received(claim.id, until=asked.until), time.monotonic()
            last = _ran(runtime, Attempt(runtime, code, own, claim, active))
        finally:
            if runtime.active.get(claim.id) is active:
                del runtime.active[claim.id]
        if asked.tells is not None:
            asked.tells(claim, last, time.monotonic() - began)
        if isinstance(last, Again):  # it has no message that could be sent once more
            publish(runtime.app, [Wake.of(last.claim, None)], countdown=last.delay_s)
    return first


def _ran(runtime: Runtime, attempt: Attempt) -> Ending:
    return attempt.run() if runtime.settings.log == "text" else _told(runtime, attempt)


def _told(runtime: Runtime, attempt: Attempt) -> Ending:
    """Run an attempt, and have all lines until its end, and Celery's of that, say whose it is."""
    claim = attempt.claim
    step = _told_as(runtime, claim)
    lately.put(claim.id, step.fields())
    mark = bound.set(step)
    log.info("Task %(name)s[%(id)s] begins", {"name": claim.task, "id": claim.id})
    try:
        ending = attempt.run()
    finally:
        bound.reset(mark)  # a thread of a pool goes on with another step
    match ending:
        case Ended(outcome):
            ends_as(claim.id, outcome.state, _kind(outcome))
        case Again(_, error):
            ends_as(claim.id, None, error.kind)
    return ending


def _kind(outcome: Outcome) -> str | None:
    return None if outcome.error is None else outcome.error.kind


def _told_as(runtime: Runtime, claim: Claimed) -> BoundStep:
    """Say whose lines come now. Which trace a member stands in is read once a run."""
    if (known := runtime.callers.at_hand(claim)) is None:
        text = "Lines of some steps name their run's own trace, and not its caller's"
        with noting(log, "lines_caller", text, AgentsError):
            known = blocking(runtime.callers.read, claim.run_id)
    about = (claim.run_id, claim.id, claim.agent, claim.attempt)
    return BoundStep(*about, None if known is None else known.caller)


def waited_s(claim: Claimed) -> float:
    """Return for how long a step could have been claimed: its row says, or the id of its run."""
    if claim.waited_s is not None:
        return claim.waited_s
    sent_at = begun_at(claim.id)
    return 0.0 if sent_at is None else time.time() - sent_at


def _unreadable(runtime: Runtime, claim: Any, error: AgentsError) -> Ending:
    """End a step whose payload cannot be read; of one that has ended, tell that instead."""
    if isinstance(claim, Claimed):
        return Ends(runtime, claim).finish(failed(error, claim, Usage()))
    runtime.follow(claim.aftermath)
    told = Outcome(state=State.FAILED, error=ErrorInfo.of(error))
    return Ended(told, replace(claim, outcome=told, payload={}))


def _refused(reason: Refusal, asked: Received) -> Left:
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


async def _run(code: Code, step: Step, request: StepOptions) -> Any:
    """Run the code; tell people of answers that were paid before and not asked for again."""
    with await step.traced():
        result = await step.run(code.run(step, request))
        if step.learned and not isinstance(result, Expand):
            await embed_learned(step)
    if step.tries > 1 and (unused := await step.calls.unused()):
        await step.note("unused", [{"calls": str(unused)}])
    return result


_on_loop = cache(inspect.iscoroutinefunction)  # of the few tasks that there are


class Attempt:
    """One claim of a step, from its code to its end."""

    def __init__(
        self, runtime: Runtime, code: Code, asked: Received, claim: Claimed, active: Active
    ) -> None:
        self._runtime = runtime
        self._journal = runtime.journal
        self._code = code
        self._asked = asked
        self._active = active
        self._ends = Ends(runtime, claim, asked.until)
        # The row's payload, not the message's, unless the row was made of this very message.
        self._request = asked.request if claim.token == 1 else None

    @property
    def claim(self) -> Claimed:
        """Its row, as it was claimed."""
        return self._ends.claim

    @property
    def request(self) -> StepOptions:
        """The step's arguments and options, parsed once."""
        if self._request is None:
            payload = self.claim.payload
            self._request = self._code.parse(payload["args"], payload["kwargs"], known=True)
        return self._request

    def run(self) -> Ending:
        """Perform the code and write down what came out."""
        claim = self.claim
        try:
            if claim.token > 1 and _is_other(self._asked.new, claim):
                return self._ends.leave()
            if (gone := self._complete()) is not None:
                return gone
            if (let_go := claim.let_go) is not None:
                self._runtime.follow(replace(let_go, wakes=[]))  # of the step that is claimed
            return self._end(self._perform())
        except NotWrittenError as error:
            # The heartbeat gives it back in a while, and its attempts are counted.
            return Left(f"{claim.id}: cannot be ended: {error.told}")

    def _complete(self) -> Left | None:
        """Fill in what the payload shares with its parent's, unless that is gone."""
        claim = self.claim
        if claim.parent_id is not None and SHARED in claim.payload:
            read = partial(blocking, self._journal.parents.whole, claim)
            try:
                claim = self._journal.parents.at_hand(claim) or keep_trying(claim.id, read)
            except NotWrittenError as gone:
                return Left(f"{claim.id}: {gone.told}")
        self._active.claim = self._ends.claim = claim
        return None

    def _perform(self) -> Result:
        """Run the code; whatever it raises becomes a value."""

        def work() -> Result:
            request, claim = self.request, self.claim
            about: Any = {"streamed": request.stream, "caps": self._caps(request, claim)}
            self._ends.step = step = Step(self._runtime, claim, self._active, **about)
            step.scope, self._ends.told = request.scope, request.webhook is not None
            if isinstance(request, Ask) and (request.cache != "use" or request.similarity):
                step.calls.cache_use = request.cache
                step.calls.similarity = request.similarity or 0.0
            pattern = not _on_loop(self._code.run)
            if step.streamed:
                self._tell_begin(step, pattern=pattern)
            if pattern:  # it only decides
                return decided_by(self._code, step, request)
            with permit(claim.tenant, claim.priority):
                return self._ask(step, request)

        about = (self._code.name, self.claim.id)
        return valued(self._runtime, self._active, work, about=about)

    def _caps(self, request: StepOptions, claim: Claimed) -> dict[str, Any]:
        """Return what bounds the step; a run's cost by the settings too, but not its undoing."""
        caps, most = request.caps, self._runtime.settings.max_cost
        if most is not None and claim.parent_id is None and claim.task != names.COMPENSATE:
            caps["max_cost"] = min(most, request.max_cost or most)
        return caps

    def _tell_begin(self, step: Step, *, pattern: bool) -> None:
        schema = getattr(self.request, "answer_schema", None)
        form = {} if pattern or schema is None else {"form": form_of(schema)}
        if self.claim.token == 1:
            step.tell("state", state=State.RUNNING, member=self.claim.member, **form)
        elif not pattern:  # which is asked again and again, and goes on where it was
            step.tell("restart", attempt=self.claim.attempt, **form)

    def _ask(self, step: Step, request: StepOptions) -> Result:
        """Run the coroutine on the loop, under what is left of its time."""
        if self._runtime.stopping:  # it waited for its permit until the worker had to stop
            return Stopped()
        limit_s, left_s = request.timeout_s, self.claim.left_s
        limit_s = limit_s or self._runtime.settings.step_timeout_s
        if left_s is not None:
            limit_s = min(limit_s, left_s)
        if limit_s <= 0:
            return Failed(DeadlineExceededError("The step's deadline passed before it could run."))
        if past(self._asked.expires):  # it waited for its permit until then
            late = StepCancelledError("The step expired before its agent could be asked.")
            return Outcome(state=State.CANCELLED, error=ErrorInfo.of(late))
        if isinstance(request, Ask) and request.session is not None:
            match joined(step, request):
                case Talk() as talk:
                    self._ends.talk = step.talk = talk
                case kept_out:
                    return kept_out
        begin = partial(_run, self._code, step, request)
        return on_loop(self._runtime, self._active, limit_s, begin)

    def _end(self, result: Result) -> Ending:
        """Write down what came out."""
        match result:
            case Answer():
                return self._ends.finish(answered(result, self.claim))
            case Outcome():
                return self._ends.finish(decided(result, self.claim))
            case Expand():
                return self._expand(result)
            case Failed(error):
                return self._fail(error)
            case Stopped():
                return self._stop()
            case Waits():
                self._ends.free()  # the holder's end may wake it before we are gone
                return Left(f"{self.claim.id}: waits for its turn in its session")
            case _:
                assert_never(result)

    def _expand(self, plan: Expand) -> Ending:
        left_s = self.claim.left_s
        if left_s is not None and left_s <= 0:
            return self._fail(DeadlineExceededError("Its time was over before all had been asked."))
        team = self.claim.task == names.ASK
        return self._ends.expand(within(plan.model_copy(update={"team": team}), left_s))

    def _fail(self, error: AgentsError) -> Ending:
        """Try again if the error and the policy allow it, unless it was cancelled meanwhile."""
        if isinstance(error, RetryableError):
            if self._active.cancelled:
                return self._ends.finish(self._ends.stopped)
            if (parked := self._parked(error)) is not None:
                return parked
            limit_s = self._runtime.settings.refusal_limit_s
            delay_s = next_try_s(error, self.claim, self.request.retry, limit_s)
            if delay_s is not None:
                return self._try_again(error, delay_s)
        step, spent = self._ends.step, self._ends.spent
        if step is not None and not step.has_calls:  # else the call that failed has counted it
            spent += usage_of(error)
        return self._ends.finish(failed(error, self.claim, spent))

    def _stop(self) -> Ending:
        """End what was cancelled; else this worker stops, and gives its step and its calls back."""
        if self._active.cancelled:
            return self._ends.finish(self._ends.stopped)
        ended = self._ends.postpone(delay_s=0)
        return ended or Left(f"{self.claim.id}: given back, this worker stops")

    def _parked(self, error: RetryableError) -> Ending | None:
        """Let a step wait at a limit, or for a cached answer; None where it is not to wait."""
        refusal, left_s = error.refusal, self.claim.left_s
        settings = self._runtime.settings
        if not isinstance(refusal, NotAdmitted | Awaits) or not refusal.parks:
            return None
        within_s = settings.refusal_limit_s if left_s is None else left_s
        if within_s <= 0 or (refusal.lasts and (refusal.wait_s or 0.0) >= within_s):
            return None  # its deadline comes first
        ended = self._ends.postpone(
            delay_s=0,
            error=bounded(ErrorInfo.of(error), settings.answer_limit_bytes),
            refused_within_s=settings.refusal_limit_s,
            woken_in_s=min(refusal.unwoken_s, within_s),
            noted=refusal.event,
        )
        if ended is not None:
            return ended
        self._ends.count_again(error)
        self._ends.free()  # its turn may come before we are gone
        self._runtime.agents.park(refusal)
        return Left(f"{self.claim.id}: {error}")

    def _try_again(self, error: RetryableError, delay_s: float) -> Ending:
        settings = self._runtime.settings
        ended = self._ends.postpone(
            delay_s=delay_s,
            error=bounded(ErrorInfo.of(error), settings.answer_limit_bytes),
            refused_within_s=None if error.attempted else settings.refusal_limit_s,
        )
        if ended is not None:
            return ended
        self._ends.count_again(error)
        self._ends.free()  # its next message may be there before we are gone
        if delay_s > settings.countdown_limit_s:
            return Left(f"{self.claim.id}: tried again in {delay_s:.0f} s, by recovery")
        return Again(self.claim, error, delay_s)


def next_try_s(
    error: RetryableError, claim: Claimed, policy: RetryPolicy, refusal_limit_s: float
) -> float | None:
    """Return the seconds until the next try; None when there is none, by count or deadline.

    What was refused comes again until its deadline, which its first refusal gives it if it had
    none; only what was tried has its attempts counted.
    """
    rng, after_s, left_s = random.Random(), error.retry_after_s, claim.left_s  # noqa: S311 - jitter
    if not error.attempted:
        within_s = refusal_limit_s if left_s is None else left_s
        about: Any = {"rng": rng, "retry_after_s": after_s, "within_s": within_s}
        return policy.refused_delay_s(1 if error.steady else claim.token, **about)
    delay = policy.delay_s(claim.attempt, rng=rng, retry_after_s=after_s)
    too_late = left_s is not None and (delay or 0) >= left_s
    return None if too_late else delay
