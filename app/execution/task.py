"""The one Task class: claim, admit, run, finish, fence; retries; what Celery is told."""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import random
import time
from dataclasses import replace
from typing import Any, ClassVar, NoReturn

from celery import Task
from celery.exceptions import Ignore, Reject

from agents.patterns.plan import Expand, MemberState, within
from app.concurrency.fibers import blocking, sleep, wait
from app.concurrency.future import Reply
from app.execution.answers import ESCAPED, bounded, kept
from app.execution.context import Step
from app.execution.publish import follow_on, publish
from app.execution.request import STEP_REQUEST
from app.execution.runtime import Active, Runtime, runtime_of
from app.execution.spread import check_chain, following
from app.journal.schema.rows import Aftermath, Claimed, Finished, NewStep, Refusal, Refused
from app.journal.steps.expansions import Expanded
from app.journal.steps.finishes import Postponed
from app.journal.steps.shared import SHARED
from app.messaging.intake import past, priority_of, queue_of
from app.pool.permits import permit
from app.telemetry.logs import returned
from celery_agents import names
from celery_agents.contracts.ask import StepOptions
from celery_agents.contracts.base import id_of
from celery_agents.contracts.outcome import Answer, ErrorInfo, Outcome, State, Usage
from celery_agents.errors import (
    AgentFailedError,
    AgentsError,
    DeadlineExceededError,
    IdInUseError,
    InvalidPayloadError,
    JournalUnavailableError,
    LoopStalledError,
    PayloadTooLargeError,
    RetryableError,
    StepCancelledError,
    StepDeadError,
    redact,
)
from celery_agents.noted import note
from celery_agents.wire.messages import fingerprint
from celery_agents.wire.shown import shown_args, shown_kwargs

log = logging.getLogger(__name__)

#: Pauses of a worker whose journal is away, before it gives the message back or tries again.
JOURNAL_PAUSE_S = (0.5, 5.0)
#: A finished step's outcome is kept and written for so long before the step is given back.
JOURNAL_PATIENCE_S = 60.0
#: A request of which nothing is told.
_NOTHING: dict[str, Any] = {}
#: What a client's message says beside its arguments, kept for publishing successors again.
_ENVELOPE = (
    ("callbacks", "link"),
    ("errbacks", "link_error"),
    ("chain", "chain"),
    ("chord", "chord"),
    ("group", "group_id"),
    ("group_index", "group_index"),
    ("reply_to", "reply_to"),
)


#: What an outcome has beside what its agent said, and a store may refuse.
_PLAIN = {"agent", "member", "usage", "attempts", "duration_s"}


class StepTask(Task):
    """Base of the agents' tasks: the function gets ``(step, request)`` and runs under a claim.

    The function answers an :class:`Answer`, an :class:`Outcome`, or :class:`Expand` for members
    that it wants first; it may be a coroutine function, which then runs on the loop. It raises
    RetryableError or PermanentError.
    """

    abstract = True
    Request = STEP_REQUEST
    on_loop = True  # app/pool/pool.py: all of its waits are futures'
    keeps_time = True  # its deadlines hold in every pool
    has_permits = True  # it asks for one when it asks its agent
    resultrepr_maxsize = 200  # Flower and logs show the start; the rest is in the journal
    # As the service's own app is configured; another one's may be otherwise (app/embedding.py).
    serializer = "json"
    priority = 5
    track_started = False
    acks_late = True
    acks_on_failure_or_timeout = True
    reject_on_worker_lost = True
    ignore_result = False
    typing = False  # callers send (input, **options), the function takes (step, request)
    max_retries = None  # the step's own policy counts
    throws = (AgentsError,)  # expected: logged in one line, without a traceback
    request_type: ClassVar[type[StepOptions]] = StepOptions

    def decided(self, payload: dict[str, Any], members: list[MemberState]) -> bool:  # noqa: ARG002
        """Whether a pattern's members so far decide it (join policy ``decided``)."""
        return False

    def parse(self, args: Any, kwargs: Any, *, known: bool = False) -> StepOptions:
        """The request in a message or, ``known``, in a row."""
        request = self.request_type.from_message(args, kwargs, known=known)
        return request if known else request.within(self.app.agents_settings.ballots_max)

    # -- what Celery calls

    def __init_subclass__(cls, **options: Any) -> None:
        """As an errback it is sent as a task: Celery calls those with two parameters inline."""
        super().__init_subclass__(**options)
        cls.__header__ = staticmethod(_header)

    def apply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """As Celery's; what people will see of the arguments is short and redacted."""
        if "argsrepr" not in options:
            options["argsrepr"] = shown_args(args or ())
        if "kwargsrepr" not in options:
            options["kwargsrepr"] = shown_kwargs(kwargs or {})
        if (sent := follow_on(self, args, kwargs, options, self._record)) is not None:
            return sent
        return super().apply_async(args, kwargs, **options)

    def _record(self, new: NewStep) -> bool:
        """Write the row of a step that follows one; False when it has to do without for now."""
        runtime = self.app.agents_runtime.value
        if runtime is None or not isinstance(self.app.current_worker_task, StepTask):
            return False
        try:
            id_of(new.id)
            args, kwargs = new.payload["args"], new.payload["kwargs"]
            self._refuse_large(args, kwargs, None)
            options = self.parse(args, kwargs)
            row = replace(
                new,
                max_attempts=options.retry.max_attempts,
                agent=getattr(options, "agent", None),
                timeout_s=options.whole_s,
            )
            wait(runtime.journal.insert(row))
        except (AgentsError, TypeError) as error:  # its own claim tells what is wrong with it
            note(log, "follow_on", "%s has no row yet", new.id, error=error)
            return False
        return True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Claim the row of this message and bring it to an end, or go away."""
        step_id = self.request.id
        if step_id is None:  # called as a plain function
            return self.run(*args, **kwargs)
        runtime = self._runtime()
        active = Active()
        if runtime.active.setdefault(step_id, active) is not active:
            raise Ignore(f"{step_id} runs in this process already")
        try:
            return self._claimed(runtime, active, args, kwargs)
        except Ignore as ignored:
            # Celery copies every frame of what is raised; nobody reads those of an Ignore.
            raise ignored.with_traceback(None) from None
        finally:
            if runtime.active.get(step_id) is active:
                del runtime.active[step_id]

    def on_success(self, retval: Any, task_id: str, *_: Any) -> None:  # noqa: ARG002
        """The result is stored and successors are published: nothing is left to recover."""
        self._settle(task_id)

    def on_failure(self, exc: Exception, task_id: str, *_: Any) -> None:  # noqa: ARG002
        self._settle(task_id)

    # -- the life of a claim

    def _runtime(self) -> Runtime:
        try:
            return runtime_of(self.app, self.request.hostname)
        except JournalUnavailableError as error:
            self._give_message_back(error)

    def _give_message_back(self, error: AgentsError) -> NoReturn:
        """Nothing is acknowledged while the journal is away: the message goes back, slowly."""
        text = "%s was not taken; its message goes back"
        note(log, "not_taken", text, self.request.id, error=error, level=logging.ERROR)
        returned.add(self.request.id)
        sleep(random.uniform(*JOURNAL_PAUSE_S))  # noqa: S311 - spreads load, no secret
        raise Reject(str(error), requeue=True) from error

    def _claimed(self, runtime: Runtime, active: Active, args: Any, kwargs: Any) -> Any:
        new = None
        if not self.request.get(names.JOURNALED):
            active.request = self.parse(args, kwargs)
            new = self._new_step(active.request, args, kwargs)
        try:
            claim = wait(runtime.journal.claim(self.request.id, new))
        except JournalUnavailableError as error:
            self._give_message_back(error)
        except Exception as error:
            raise self._not_taken(error, new) from error
        match claim:
            case Refused(reason):
                if reason is Refusal.MISSING:
                    log.warning("%s has no row; its message is dropped", self.request.id)
                if reason is Refusal.LAPSED:  # the next heartbeat brings a new one
                    self._give_message_back(JournalUnavailableError("This worker has no lease."))
                raise Ignore(f"{self.request.id}: {reason}")
            case Finished(outcome, parent_id, aftermath, token, task, payload):
                self.request.agents_token = token
                runtime.follow(aftermath)
                if _is_other(new, task, payload):
                    self._refuse_other()
                return self._conclude(outcome, parent_id, payload)
        if claim.token > 1 and _is_other(new, claim.task, claim.payload):
            self._leave_other(runtime, claim)
        active.claim = claim = self._whole(runtime, claim)
        self.request.agents_token = claim.token
        runtime.follow(Aftermath(cancels=claim.cancels))
        return self._end(runtime, claim, self._perform(runtime, active, claim))

    def _whole(self, runtime: Runtime, claim: Claimed) -> Claimed:
        """The claim with what its payload shares with its parent's."""
        if SHARED not in claim.payload:
            return claim
        try:
            whole: Claimed = self._keep_writing(lambda: blocking(runtime.journal.whole, claim))
        except _NotWrittenError as gone:
            raise Ignore(f"{claim.id}: {gone.told}") from gone
        return whole

    def _new_step(self, options: StepOptions, args: Any, kwargs: Any) -> NewStep:
        """The row that a client's message asks for."""
        request = self.request
        self._refuse_large(args, kwargs, request.get("body_bytes"), request)
        envelope = {
            option: value for name, option in _ENVELOPE if (value := request.get(name)) is not None
        }
        info = request.delivery_info or {}
        return NewStep(
            id=request.id,
            run_id=request.id,
            task=self.name,
            queue=queue_of(info),
            priority=priority_of(info.get("priority")),
            payload={"args": list(args), "kwargs": kwargs},
            max_attempts=options.retry.max_attempts,
            agent=getattr(options, "agent", None),
            envelope=envelope or None,
            timeout_s=options.whole_s,
        )

    def _not_taken(self, error: Exception, new: NewStep | None) -> Exception:
        """What follows when the database takes no such row, or cannot end the one there is."""
        text = redact(f"{type(error).__name__}: {getattr(error, 'orig', None) or error}")
        if new is None:
            ignored: Exception = Ignore(
                f"{self.request.id}: not taken, and woken more seldom each time: {text}"
            )
            return ignored
        return InvalidPayloadError(f"The journal does not take the step: {text}")

    def _refuse_other(self) -> NoReturn:
        """The id names another call, which has ended: its result stays as it is.

        Its fingerprint tells our clients. Where it has expired, everybody is told.
        """
        log.warning("%s names another call; this one is refused", self.request.id)
        self.request.agents_settled = True
        key = self.backend.get_key_for_task(self.request.id)
        if blocking(self.backend.get, key) is not None:
            raise Ignore(f"{self.request.id}: names another call")
        raise IdInUseError.of(self.request.id)

    def _leave_other(self, runtime: Runtime, claim: Claimed) -> NoReturn:
        """The id names another call, which is under way: that goes on by a message of its own."""
        log.warning("%s names another call; this one is refused", claim.id)
        given_back = self._keep_writing(lambda: runtime.journal.postpone(claim, delay_s=0))
        runtime.active.pop(claim.id, None)
        runtime.follow(given_back)
        raise Ignore(f"{claim.id}: names another call")

    def _refuse_large(
        self, args: Any, kwargs: Any, body_bytes: int | None, request: Any = _NOTHING
    ) -> None:
        """Big payloads stay out of the journal, whoever sent them, and what follows them does.

        ``body_bytes`` is what their message took, where it is known.
        """
        settings = self.app.agents_settings
        limit = settings.payload_limit_bytes
        if body_bytes and ESCAPED * body_bytes <= limit:
            return
        size = len(json.dumps([args, kwargs, *following(request)]))
        check_chain(request.get("chain"), size, settings.spread_limit_bytes)
        if size > limit:
            raise PayloadTooLargeError(
                f"The payload has {size:,} bytes, the limit is {limit:,} (payload_limit_bytes)."
            )

    def _perform(self, runtime: Runtime, active: Active, claim: Claimed) -> Any:
        """Run the function under its deadline; whatever it raises becomes a value."""
        try:
            # The row's payload, not the message's, unless the row was made of this very message.
            request = active.request if claim.token == 1 else None
            if request is None:
                request = self.parse(claim.payload["args"], claim.payload["kwargs"], known=True)
            step = active.step = Step(runtime, claim)
            if not inspect.iscoroutinefunction(self.run):  # a pattern: it only decides
                return blocking(self.run, step, request)
            with permit():
                return self._ask(runtime, active, claim, request)
        except asyncio.CancelledError:
            sleep(0)  # its coroutine hears of it before anybody else does
            asked = active.cancelled or runtime.stopping
            return _Stopped() if asked else AgentFailedError("The agent's code cancelled itself.")
        except AgentsError as error:
            return error
        except Exception as error:  # noqa: BLE001 - it is noted
            about = (self.name, claim.id)
            level = logging.ERROR
            note(log, "step", "%s of %s failed", *about, error=error, level=level, trace=True)
            return AgentFailedError(redact(f"{type(error).__name__}: {error}"))

    def _ask(self, runtime: Runtime, active: Active, claim: Claimed, request: StepOptions) -> Any:
        """Run the coroutine on the loop, under what is left of its time."""
        if runtime.stopping:  # it waited for its permit until the worker had to stop
            return _Stopped()
        limit = request.timeout_s or runtime.settings.step_timeout_s
        if claim.left_s is not None:
            limit = min(limit, claim.left_s)
        if limit <= 0:
            return DeadlineExceededError("The step's deadline passed before it could run.")
        if past(self.request.expires):  # it waited for its permit until then
            late = StepCancelledError("The step expired before its agent could be asked.")
            return Outcome(state=State.CANCELLED, error=ErrorInfo.of(late))
        active.work = runtime.loop.submit(_within(limit, self.run(active.step, request)))
        if active.cancelled:  # asked to stop between the claim and here
            active.work.cancel()
        return wait(active.work)

    def _end(self, runtime: Runtime, claim: Claimed, result: Any) -> Any:
        """Write down what came out, then tell Celery."""
        cancelled = runtime.active[claim.id].cancelled
        match result:
            case Expand() if claim.left_s is not None and claim.left_s <= 0:
                late = DeadlineExceededError("Its time was over before all had been asked.")
                return self._end(runtime, claim, late)
            case Expand():
                try:
                    return self._expand(runtime, claim, within(result, claim.left_s))
                except _NotWrittenError as refused:
                    result = refused.told
            case RetryableError() if not cancelled:
                delay_s = self._retry_delay(runtime, claim, result)
                if delay_s is not None:
                    return self._try_again(runtime, claim, result, delay_s)
            case _Stopped() if not cancelled:
                return self._hand_on(runtime, claim)
        return self._finish(runtime, claim, _Stopped() if cancelled and _again(result) else result)

    def _hand_on(self, runtime: Runtime, claim: Claimed) -> Any:
        """Give the step back, since this worker stops; its finished calls with it."""
        self._write_calls(runtime, claim)
        postponed = self._postpone(runtime, claim, delay_s=0)
        if postponed.outcome is not None:
            return self._conclude(postponed.outcome, claim.parent_id, claim.payload)
        raise Ignore(f"{claim.id}: given back, this worker stops")

    def _postpone(self, runtime: Runtime, claim: Claimed, **how: Any) -> Postponed:
        """Let another claim go on, unless the step was cancelled meanwhile."""
        cancelled = self._outcome(runtime, claim, _Stopped())
        postponed: Postponed = self._keep_writing(
            lambda: runtime.journal.postpone(claim, cancelled=cancelled, **how)
        )
        if not postponed.applied:
            self._too_late(runtime, claim)
        runtime.follow(postponed)
        return postponed

    def _write_calls(self, runtime: Runtime, claim: Claimed) -> None:
        """Another attempt would make finished calls again that are not written yet."""
        active = runtime.active.get(claim.id)
        step = active.step if active is not None else None
        if step is not None:
            self._keep_writing(lambda: blocking(step.calls_written))

    def _finish(self, runtime: Runtime, claim: Claimed, result: Any) -> Any:
        outcome, aftermath = self._write_end(runtime, claim, self._outcome(runtime, claim, result))
        if not aftermath.applied:
            self._too_late(runtime, claim)
        runtime.follow(aftermath)
        return self._conclude(outcome, claim.parent_id, claim.payload)

    def _write_end(
        self, runtime: Runtime, claim: Claimed, outcome: Outcome
    ) -> tuple[Outcome, Aftermath]:
        """Write the outcome; one that the journal refuses is a failed one, with what it cost."""
        try:
            return outcome, self._keep_writing(lambda: runtime.journal.finish(claim, outcome))
        except _NotWrittenError as refused:
            failed = Outcome(
                state=State.FAILED,
                error=ErrorInfo.of(refused.told),
                **outcome.model_dump(include=_PLAIN),
            )
        try:
            return failed, self._keep_writing(lambda: runtime.journal.finish(claim, failed))
        except _NotWrittenError as error:
            # The heartbeat gives it back in a while, and its attempts are counted.
            raise Ignore(f"{claim.id}: cannot be ended: {error.told}") from error

    def _outcome(self, runtime: Runtime, claim: Claimed, result: Any) -> Outcome:
        step = runtime.active[claim.id].step
        outcome = _outcome(result, claim, step.spent if step else Usage())
        limit = runtime.settings.answer_limit_bytes
        return kept(outcome, limit, known=step is not None and step.has_called)

    def _too_late(self, runtime: Runtime, claim: Claimed) -> NoReturn:
        """Nothing was written: another worker had the lease, or the claim itself is lost.

        A claim's commit waits for no disk, so a database that crashed may have forgotten the row
        that it made. Nothing was paid then (see writer.py); the message runs once more.
        """
        if not blocking(runtime.journal.known, claim.id):
            lost = JournalUnavailableError("The database lost its row, in a crash.")
            self._give_message_back(lost)
        raise Ignore(f"{claim.id}: too late, another worker had its lease")

    def _keep_writing(self, write: Any) -> Any:
        """Work that was done is not thrown away because the journal is away for a moment."""
        give_up = time.monotonic() + JOURNAL_PATIENCE_S
        while True:
            try:
                written = write()
                return wait(written) if isinstance(written, Reply) else written
            except JournalUnavailableError as error:
                if time.monotonic() > give_up:
                    self._give_message_back(error)
                text = "The outcome of %s is not written yet"
                note(log, "outcome", text, self.request.id, error=error)
                sleep(random.uniform(*JOURNAL_PAUSE_S))  # noqa: S311 - spreads load
            except AgentsError as error:
                raise _NotWrittenError(error) from error
            except Exception as error:
                log.exception("The journal refuses what came out of %s", self.request.id)
                raise _NotWrittenError(error) from error

    def _retry_delay(self, runtime: Runtime, claim: Claimed, error: RetryableError) -> float | None:
        """Seconds until it comes again; None when it does not, by count or by deadline.

        What was refused comes again until its deadline, which its first refusal gives it if it
        had none; only what was tried has its attempts counted.
        """
        policy = self.parse(claim.payload["args"], claim.payload["kwargs"], known=True).retry
        rng, after_s = random.Random(), error.retry_after_s  # noqa: S311 - jitter
        left_s = claim.left_s
        if not error.attempted:
            within_s = runtime.settings.refusal_limit_s if left_s is None else left_s
            return policy.refused_delay_s(
                claim.token, rng=rng, retry_after_s=after_s, within_s=within_s
            )
        delay = policy.delay_s(claim.attempt, rng=rng, retry_after_s=after_s)
        too_late = left_s is not None and (delay or 0) >= left_s
        return None if too_late else delay

    def _try_again(
        self, runtime: Runtime, claim: Claimed, error: RetryableError, delay: float
    ) -> Any:
        info = bounded(ErrorInfo.of(error), runtime.settings.answer_limit_bytes)
        limit_s = None if error.attempted else runtime.settings.refusal_limit_s
        self._write_calls(runtime, claim)
        postponed = self._postpone(
            runtime, claim, delay_s=delay, error=info, refused_within_s=limit_s
        )
        if postponed.outcome is not None:
            return self._conclude(postponed.outcome, claim.parent_id, claim.payload)
        runtime.active.pop(claim.id, None)  # its next message may be there before we are gone
        if delay > runtime.settings.countdown_limit_s:
            raise Ignore(f"{claim.id}: tried again in {delay:.0f} s, by recovery")
        headers = {**(self.request.headers or {}), names.JOURNALED: 1}
        try:
            raise self.retry(
                exc=error,
                countdown=delay,
                headers=headers,
                argsrepr=shown_args(claim.payload["args"]),
                kwargsrepr=shown_kwargs(claim.payload["kwargs"]),
            )
        except Reject as lost:  # the message was not published; the row says when
            raise Ignore(str(lost)) from lost

    def _expand(self, runtime: Runtime, claim: Claimed, plan: Expand) -> Any:
        """Let the step wait for its members: ``self.replace`` by a chord of them and itself.

        Celery's own would send the chord's body along with each member, and look at all members
        several times. The journal holds the body and counts the members, so a write of their
        messages is all that is left to do.
        """
        step = runtime.active[claim.id].step
        ended = None if step is None else step.ended_members
        expanded: Expanded = self._keep_writing(
            lambda: runtime.journal.expand(claim, plan, ended_members=ended)
        )
        if not expanded.applied:
            return self._finish(runtime, claim, _Stopped())
        runtime.active.pop(claim.id, None)  # quick members may wake it before all are sent
        runtime.follow(expanded)
        wait_s = plan.join.timeout_s or 0.0
        if expanded.timer is not None and wait_s <= runtime.settings.countdown_limit_s:
            publish(self.app, [expanded.timer], countdown=wait_s)  # else recovery sees it is late
        publish(self.app, expanded.members)
        raise Ignore(f"{claim.id}: waits for its members")

    def _conclude(self, outcome: Outcome, parent_id: str | None, payload: dict[str, Any]) -> Any:
        """What Celery stores and passes on: value or error; of a member, what Flower shows."""
        if parent_id is not None:
            self.request.agents_settled = True  # by its end itself: its parent reads the row
            shown = outcome.value if outcome.ok or outcome.error is None else outcome.error.kind
            return {"state": outcome.state, "is": shown}
        # app/messaging/results.py keeps both with the result
        self.request.agents_outcome = outcome.compact()
        if not self.request.get(names.PAYLOAD) and payload:
            asked = fingerprint(self.name, payload["args"], payload["kwargs"])
            setattr(self.request, names.PAYLOAD, asked)
        if outcome.ok:
            return outcome.value
        error = outcome.error or ErrorInfo.of(StepCancelledError())
        raise error.exception()

    def _settle(self, task_id: str) -> None:
        done = self.request.get("agents_unstored") or self.request.get("agents_settled")
        if not (self.request.is_eager or done):
            token = self.request.get("agents_token")
            runtime_of(self.app, self.request.hostname).journal.settle(task_id, token)


def _header(input: Any = None, **options: Any) -> None:  # noqa: A002 - as callers write it
    """What a message holds; read by Celery, never called."""


def _is_other(new: NewStep | None, task: str, payload: dict[str, Any]) -> bool:
    """Whether a message asks for something else than the row of its id; a cancelled one asks so."""
    if new is None or not payload:
        return False
    asked = fingerprint(new.task, new.payload["args"], new.payload["kwargs"])
    return asked != fingerprint(task, payload["args"], payload["kwargs"])


class _NotWrittenError(Exception):
    """The journal refused a write for what it is, not for being away."""

    def __init__(self, error: Exception) -> None:
        text = redact(f"{type(error).__name__}: {getattr(error, 'orig', None) or error}")
        said = AgentFailedError(f"The journal does not take what came out: {text}")
        self.told = error if isinstance(error, AgentsError) else said
        super().__init__(text)


class _Stopped:
    """The work was cancelled: on request, or because its worker stops."""


def _again(result: Any) -> bool:
    """Whether it would be tried again if it were not cancelled."""
    return isinstance(result, RetryableError)


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


def _outcome(result: Any, claim: Claimed, spent: Usage) -> Outcome:
    """One outcome for whatever came out of the function; a failed one cost what its calls did."""
    common = {
        "agent": claim.agent,
        "member": claim.member,
        "attempts": claim.attempt,
        "duration_s": claim.spent_s,
    }
    match result:
        case Outcome():
            told = common | ({"agent": result.agent} if result.agent else {})  # a backup's
            return result.model_copy(update={k: v for k, v in told.items() if v is not None})
        case Answer(value=value, usage=usage):
            return Outcome(state=State.SUCCEEDED, value=value, usage=usage, **common)
        case _Stopped():
            error = ErrorInfo.of(StepCancelledError())
            return Outcome(state=State.CANCELLED, error=error, usage=spent, **common)
        case LoopStalledError():  # its attempts are used up; who looks after it has to know
            dead = StepDeadError(f"Given up after {claim.attempt} attempts. The last: {result}")
            return Outcome(state=State.DEAD, error=ErrorInfo.of(dead), usage=spent, **common)
        case AgentsError():
            return Outcome(state=State.FAILED, error=ErrorInfo.of(result), usage=spent, **common)
        case _:
            return Outcome(state=State.SUCCEEDED, value=result, **common)
