"""The one Task class: Celery's adapter of an :class:`~app.execution.attempts.attempt.Attempt`."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar, NoReturn

from celery import Task
from celery.exceptions import Ignore, Reject

from agents.plan import MemberState
from app.concurrency.fibers import blocking, sleep
from app.execution.attempts.attempt import Received, attempted
from app.execution.attempts.ends import Again, Ended, Ending, Left
from app.execution.attempts.own_wakes import of_worker
from app.execution.attempts.sequels import SEQUEL_S
from app.execution.patience import JOURNAL_PAUSE_S
from app.execution.publish import NextRow, described, follow_on, sealed_args
from app.execution.request import STEP_REQUEST
from app.execution.runtime import Active, Runtime, runtime_of
from app.execution.sequel_events import tell_sequel
from app.execution.submission import Submission, opened_args
from app.execution.trust import begun_within, tell_on
from app.messaging.results import reported
from app.telemetry.bound import ends_as
from app.telemetry.logs import returned
from celery_agents import names
from celery_agents.contracts.ask import StepOptions
from celery_agents.contracts.base import id_of
from celery_agents.contracts.outcome import ErrorInfo, State
from celery_agents.errors import (
    AgentsError,
    IdInUseError,
    JournalUnavailableError,
    StepCancelledError,
)
from celery_agents.noted import note
from celery_agents.sealing import CANVAS
from celery_agents.wire.messages import fingerprint

log = logging.getLogger(__name__)


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
        """Return whether a pattern's members so far decide it (join policy ``decided``)."""
        return False

    def is_brief(self, request: Any) -> bool:  # noqa: ARG002
        """Return whether a pattern's code takes a moment, and waits for nothing but its members."""
        return False

    def parse(self, args: Any, kwargs: Any, *, known: bool = False) -> StepOptions:
        """The request in a message or, ``known``, in a row."""
        request = self.request_type.from_message(args, kwargs, known=known)
        return request if known else request.within(self.app.agents_settings.ballots_max)

    # -- what Celery calls

    def __init_subclass__(cls, **options: Any) -> None:
        """Have errbacks sent as tasks: Celery calls those with two parameters inline."""
        super().__init_subclass__(**options)
        cls.__header__ = staticmethod(_header)

    def apply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """As Celery's; what people will see of the arguments is short and redacted."""
        options = described(self.app, args or (), kwargs or {}) | options
        if (sent := follow_on(self, args, kwargs, options, self._record)) is not None:
            return sent
        args, kwargs = sealed_args(self.app, args, kwargs, options.get("task_id") or CANVAS)
        return super().apply_async(args, kwargs, **options)

    def _record(self, submission: Submission) -> NextRow | None:
        """Write the row of a step that follows one; return None when that has to wait."""
        if not isinstance(self.app.current_worker_task, StepTask):
            return None
        held = getattr(self.app, "agents_runtime", None)  # another app may call our tasks
        runtime = held and held.value
        if runtime is None:
            return None
        try:
            id_of(submission.id)
            self._refuse_large(submission)
            options = self.parse(submission.args, submission.kwargs)
            return of_worker(runtime).record(submission.row(options))
        except (AgentsError, TypeError) as error:  # its own claim tells what is wrong with it
            note(log, "follow_on", "%s has no row yet", submission.id, error=error)
            return None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Claim the row of this message and bring it to an end, or go away."""
        message = self.request  # looked up once: that is a walk to the fiber's stack each time
        if message.id is None:  # called as a plain function
            return self.run(*args, **kwargs)
        ending = self._attempt(message, args, kwargs)
        match ending:
            case Ended():
                return self._report(message, ending)
            case Again():
                return self._retry(message, ending)
            case Left(why):
                raise Ignore(why)

    def on_success(self, retval: Any, task_id: str, *_: Any) -> None:  # noqa: ARG002
        """Settle the step: the result is stored, and successors are published."""
        self._settle(task_id)

    def on_failure(self, exc: Exception, task_id: str, *_: Any) -> None:  # noqa: ARG002
        """Settle the step: the error is stored, and errbacks are published."""
        self._settle(task_id)

    # -- from a message to an attempt, and back

    def _attempt(self, message: Any, args: Any, kwargs: Any) -> Ending:
        step_id = message.id
        try:
            runtime = runtime_of(self.app, message.hostname)
        except JournalUnavailableError as error:
            self._give_message_back(step_id, error)
        active = Active()
        if runtime.active.setdefault(step_id, active) is not active:
            return Left(f"{step_id} runs in this process already")
        try:
            return attempted(runtime, self, self._asked(runtime, message, args, kwargs), active)
        except JournalUnavailableError as error:
            self._give_message_back(step_id, error)
        except AgentsError as error:  # it is refused as it stands, and has no row
            ends_as(step_id, State.FAILED, error.kind)
            raise
        finally:
            if runtime.active.get(step_id) is active:
                del runtime.active[step_id]

    def _asked(self, runtime: Runtime, message: Any, args: Any, kwargs: Any) -> Received:
        tells = partial(tell_sequel, self.app, message.id)
        about: Any = {"until": time.monotonic() + SEQUEL_S, "tells": tells}
        if message.get(names.JOURNALED):
            about["claim"] = runtime.claimed.pop(message.id, None)
            return Received(message.id, None, None, message.expires, **about)
        args, kwargs = opened_args(self.app, message.id, args, kwargs)
        request = self.parse(args, kwargs)
        submission = Submission.received(self.name, message, args, kwargs)
        self._refuse_large(submission)
        submission = begun_within(runtime, message, submission)
        return Received(message.id, submission.row(request), request, message.expires, **about)

    def _refuse_large(self, submission: Submission) -> None:
        settings = self.app.agents_settings
        submission.refuse_large(settings.payload_limit_bytes, settings.spread_limit_bytes)

    def _give_message_back(self, step_id: str, error: AgentsError) -> NoReturn:
        """Give the message back, slowly: nothing is acknowledged without the journal."""
        text = "%s was not taken; its message goes back"
        note(log, "not_taken", text, step_id, error=error, level=logging.ERROR)
        returned.put(step_id, None)
        sleep(random.uniform(*JOURNAL_PAUSE_S))  # noqa: S311 - spreads load, no secret
        raise Reject(str(error), requeue=True) from error

    def _report(self, message: Any, ended: Ended) -> Any:
        """Return the value for Celery to store, or raise the error; a member's is for Flower."""
        outcome, claim, told = ended.outcome, ended.claim, reported(message)
        told.token = claim.token
        if ended.other:
            self._refuse_other(message)
        if claim.parent_id is not None:
            told.settled = True  # by its end itself: its parent reads the row
            if outcome.ok:
                return outcome.value
            return {"state": outcome.state, "error": outcome.error and outcome.error.kind}
        tell_on(runtime_of(self.app, message.hostname), message, claim, ended.untrusted)
        told.outcome = outcome.compact()  # app/messaging/results.py keeps both with the result
        if not message.get(names.PAYLOAD) and claim.payload:
            asked = self._fingerprint(claim.payload)
            setattr(message, names.PAYLOAD, asked)
        if outcome.ok:
            return outcome.value
        error = outcome.error or ErrorInfo.of(StepCancelledError())
        raise error.exception()

    def _fingerprint(self, payload: Mapping[str, Any]) -> str:
        return fingerprint(self.name, payload["args"], payload["kwargs"], self.app.seals)

    def _refuse_other(self, message: Any) -> NoReturn:
        """Refuse a call whose id names another one that has ended; that keeps its result.

        Its fingerprint tells our clients. Where it has expired, everybody is told.
        """
        log.warning("%s names another call; this one is refused", message.id)
        reported(message).settled = True
        key = self.backend.get_key_for_task(message.id)
        if blocking(self.backend.get, key) is not None:
            raise Ignore(f"{message.id}: names another call")
        raise IdInUseError.of(message.id)

    def _retry(self, message: Any, again: Again) -> Any:
        payload = again.claim.payload
        try:
            raise self.retry(
                exc=again.error,
                countdown=again.delay_s,
                headers={**(message.headers or {}), names.JOURNALED: 1},
                **described(self.app, payload["args"], payload["kwargs"]),
            )
        except Reject as lost:  # the message was not published; the row says when
            raise Ignore(str(lost)) from lost

    def _settle(self, task_id: str) -> None:
        message = self.request
        told = reported(message)
        if not (message.is_eager or told.unstored or told.settled):
            runtime = runtime_of(self.app, message.hostname)
            runtime.journal.settle(task_id, told.token)


def _header(input: Any = None, **options: Any) -> None:  # noqa: A002 - as callers write it
    """The signature that a message has to fit; read by Celery, never called."""
