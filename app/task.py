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

from app.fibers import blocking, sleep, wait
from app.journal.expansions import Expanded
from app.journal.rows import Aftermath, Claimed, Finished, NewStep, Refusal, Refused
from app.permits import permit
from app.plan import Expand, MemberState
from app.publish import follow_on, publish
from app.reply import Reply
from app.requests import STEP_REQUEST
from app.runtime import Active, Runtime, runtime_of
from app.step import Step
from celery_agents import names
from celery_agents.contracts.ask import StepOptions
from celery_agents.contracts.outcome import Answer, ErrorInfo, Outcome, State, Usage
from celery_agents.errors import (
    AgentFailedError,
    AgentsError,
    DeadlineExceededError,
    JournalUnavailableError,
    PayloadTooLargeError,
    RetryableError,
    StepCancelledError,
    redact,
)
from celery_agents.shown import shown_args, shown_kwargs

log = logging.getLogger(__name__)

#: Pauses of a worker whose journal is away, before it gives the message back or tries again.
JOURNAL_PAUSE_S = (0.5, 5.0)
#: A finished step's outcome is kept and written for so long before the step is given back.
JOURNAL_PATIENCE_S = 60.0
#: A step that is not admitted comes again so often, without using up an attempt: with the default
#: policy and an agent whose breaker stays open that is about an hour. Its deadline may be sooner.
REFUSALS_MAX = 100
#: Characters of JSON that escapes, for a byte of a message, at the most.
ESCAPED = 6
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


class StepTask(Task):
    """Base of the agents' tasks: the function gets ``(step, request)`` and runs under a claim.

    The function answers an :class:`Answer`, an :class:`Outcome`, or :class:`Expand` for members
    that it wants first; it may be a coroutine function, which then runs on the loop. It raises
    RetryableError or PermanentError.
    """

    abstract = True
    Request = STEP_REQUEST
    on_loop = True  # app/pool.py: all of its waits are futures'
    keeps_time = True  # its deadlines hold in every pool
    has_permits = True  # it asks for one when it asks its agent
    resultrepr_maxsize = 200  # Flower and logs show the start; the rest is in the journal
    typing = False  # callers send (input, **options), the function takes (step, request)
    max_retries = None  # the step's own policy counts
    throws = (AgentsError,)  # expected: logged in one line, without a traceback
    request_type: ClassVar[type[StepOptions]] = StepOptions

    def decided(self, payload: dict[str, Any], members: list[MemberState]) -> bool:  # noqa: ARG002
        """Whether a pattern's members so far decide it (join policy ``decided``)."""
        return False

    def parse(self, args: Any, kwargs: Any) -> StepOptions:
        return self.request_type.from_message(args, kwargs)

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
            args, kwargs = new.payload["args"], new.payload["kwargs"]
            self._refuse_large(args, kwargs, None)
            options = self.parse(args, kwargs)
            told = replace(
                new,
                max_attempts=options.retry.max_attempts,
                agent=getattr(options, "agent", None),
                timeout_s=options.whole_s,
            )
            wait(runtime.journal.insert(told))
        except (AgentsError, TypeError) as error:  # its own claim tells what is wrong with it
            log.debug("%s has no row yet: %s", new.id, error)
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
        log.error("%s not taken: %s", self.request.id, error)
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
        match claim:
            case Refused(reason):
                if reason is Refusal.MISSING:
                    log.warning("%s has no row; its message is dropped", self.request.id)
                if reason is Refusal.LAPSED:  # the next heartbeat brings a new one
                    self._give_message_back(JournalUnavailableError("This worker has no lease."))
                raise Ignore(f"{self.request.id}: {reason}")
            case Finished(outcome, parent_id, aftermath, token):
                self.request.agents_token = token
                runtime.follow(aftermath)
                return self._conclude(outcome, parent_id)
        active.claim = claim
        self.request.agents_token = claim.token
        runtime.follow(Aftermath(cancels=claim.cancels))
        return self._end(runtime, claim, self._perform(runtime, active, claim))

    def _new_step(self, options: StepOptions, args: Any, kwargs: Any) -> NewStep:
        """The row that a client's message asks for."""
        request = self.request
        self._refuse_large(args, kwargs, request.get("body_bytes"))
        envelope = {
            option: value for name, option in _ENVELOPE if (value := request.get(name)) is not None
        }
        info = request.delivery_info or {}
        return NewStep(
            id=request.id,
            run_id=request.id,
            task=self.name,
            queue=info.get("routing_key") or names.QUEUE,
            priority=info.get("priority") or 0,
            payload={"args": list(args), "kwargs": kwargs},
            max_attempts=options.retry.max_attempts,
            agent=getattr(options, "agent", None),
            envelope=envelope or None,
            timeout_s=options.whole_s,
        )

    def _refuse_large(self, args: Any, kwargs: Any, body_bytes: int | None) -> None:
        """Big payloads stay out of the journal, whoever sent them.

        ``body_bytes`` is what their message took, where it is known.
        """
        limit = self.app.agents_settings.payload_limit_bytes
        if body_bytes and ESCAPED * body_bytes <= limit:
            return
        size = len(json.dumps([args, kwargs]))
        if size > limit:
            raise PayloadTooLargeError(
                f"The payload has {size:,} bytes, the limit is {limit:,} (payload_limit_bytes)."
            )

    def _perform(self, runtime: Runtime, active: Active, claim: Claimed) -> Any:
        """Run the function under its deadline; whatever it raises becomes a value."""
        try:
            # The row's payload, not the message's, unless the row was made of this very message.
            known = active.request if claim.token == 1 else None
            request = known or self.parse(claim.payload["args"], claim.payload["kwargs"])
            step = active.step = Step(runtime, claim, send_progress=self._progress_sender())
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
        except Exception as error:
            log.exception("%s of %s failed", self.name, claim.id)
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
        active.work = runtime.loop.submit(_within(limit, self.run(active.step, request)))
        if active.cancelled:  # asked to stop between the claim and here
            active.work.cancel()
        return wait(active.work)

    def _progress_sender(self) -> Any:
        request = self.request
        return lambda fields: self.send_event("task-progress", uuid=request.id, **fields)

    def _end(self, runtime: Runtime, claim: Claimed, result: Any) -> Any:
        """Write down what came out, then tell Celery."""
        cancelled = runtime.active[claim.id].cancelled
        match result:
            case Expand():
                return self._expand(runtime, claim, result)
            case RetryableError() if (
                not cancelled and (delay := self._retry_delay(claim, result)) is not None
            ):
                return self._try_again(runtime, claim, result, delay)
            case _Stopped() if not cancelled:
                return self._hand_on(runtime, claim)
        return self._finish(runtime, claim, _Stopped() if cancelled and _again(result) else result)

    def _hand_on(self, runtime: Runtime, claim: Claimed) -> Any:
        """Give the step back, since this worker stops; its finished calls with it."""
        self._write_calls(runtime, claim)
        aftermath = self._keep_writing(lambda: runtime.journal.postpone(claim, delay_s=0))
        if not aftermath.applied:  # it was cancelled meanwhile, or another worker has it
            return self._finish(runtime, claim, _Stopped())
        runtime.follow(aftermath)
        raise Ignore(f"{claim.id}: given back, this worker stops")

    def _write_calls(self, runtime: Runtime, claim: Claimed) -> None:
        """Another attempt would make finished calls again that are not written yet."""
        active = runtime.active.get(claim.id)
        step = active.step if active is not None else None
        if step is not None:
            self._keep_writing(lambda: blocking(step.calls_written))

    def _finish(self, runtime: Runtime, claim: Claimed, result: Any) -> Any:
        step = runtime.active[claim.id].step
        outcome = _outcome(result, claim, step.spent if step else Usage())
        aftermath = self._keep_writing(lambda: runtime.journal.finish(claim, outcome))
        if not aftermath.applied:
            self._too_late(runtime, claim)
        runtime.follow(aftermath)
        return self._conclude(outcome, claim.parent_id)

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
                log.warning("%s: outcome not written yet: %s", self.request.id, error)
                sleep(random.uniform(*JOURNAL_PAUSE_S))  # noqa: S311 - spreads load

    def _retry_delay(self, claim: Claimed, error: RetryableError) -> float | None:
        """Seconds until it comes again; None when it does not, by count or by deadline."""
        policy = self.parse(claim.payload["args"], claim.payload["kwargs"]).retry
        rng, after_s = random.Random(), error.retry_after_s  # noqa: S311 - jitter
        if error.attempted:
            delay = policy.delay_s(claim.attempt, rng=rng, retry_after_s=after_s)
        elif (claims := claim.token) - claim.attempt < REFUSALS_MAX:
            delay = policy.wait_s(claims, rng=rng, retry_after_s=after_s)
        else:
            delay = None
        too_late = claim.left_s is not None and (delay or 0) >= claim.left_s
        return None if too_late else delay

    def _try_again(
        self, runtime: Runtime, claim: Claimed, error: RetryableError, delay: float
    ) -> Any:
        info = ErrorInfo.of(error)
        self._write_calls(runtime, claim)
        aftermath = self._keep_writing(
            lambda: runtime.journal.postpone(
                claim, delay_s=delay, error=info, attempted=error.attempted
            )
        )
        if not aftermath.applied:  # it was cancelled meanwhile, or another worker has it
            return self._finish(runtime, claim, _Stopped())
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
        expanded: Expanded = self._keep_writing(lambda: runtime.journal.expand(claim, plan))
        if not expanded.applied:
            return self._finish(runtime, claim, _Stopped())
        runtime.active.pop(claim.id, None)  # quick members may wake it before all are sent
        runtime.follow(expanded)
        if expanded.timer is not None:
            publish(self.app, [expanded.timer], countdown=plan.join.timeout_s)
        publish(self.app, expanded.members)
        raise Ignore(f"{claim.id}: waits for its members")

    def _conclude(self, outcome: Outcome, parent_id: str | None) -> Any:
        """What Celery stores and passes on: value or error; of a member, what Flower shows."""
        if parent_id is not None:
            self.request.agents_settled = True  # by its end itself: its parent reads the row
            shown = outcome.value if outcome.ok or outcome.error is None else outcome.error.kind
            return {"state": outcome.state, "is": shown}
        self.request.agents_outcome = outcome.compact()  # app/backend.py keeps it with the result
        if outcome.ok:
            return outcome.value
        error = outcome.error or ErrorInfo.of(StepCancelledError())
        raise error.exception()

    def _settle(self, task_id: str) -> None:
        done = self.request.get("agents_unstored") or self.request.get("agents_settled")
        if not (self.request.is_eager or done):
            token = self.request.get("agents_token") or 0
            runtime_of(self.app, self.request.hostname).journal.settle(task_id, token)


def _header(input: Any = None, **options: Any) -> None:  # noqa: A002 - as callers write it
    """What a message holds; read by Celery, never called."""


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
    common = {"agent": claim.agent, "member": claim.member, "attempts": claim.attempt}
    match result:
        case Outcome():
            told = common | ({"agent": result.agent} if result.agent else {})  # a backup's
            return result.model_copy(update={k: v for k, v in told.items() if v is not None})
        case Answer(value=value, usage=usage):
            return Outcome(state=State.SUCCEEDED, value=value, usage=usage, **common)
        case _Stopped():
            error = ErrorInfo.of(StepCancelledError())
            return Outcome(state=State.CANCELLED, error=error, usage=spent, **common)
        case AgentsError():
            return Outcome(state=State.FAILED, error=ErrorInfo.of(result), usage=spent, **common)
        case _:
            return Outcome(state=State.SUCCEEDED, value=result, **common)
