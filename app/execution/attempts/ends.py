"""The ends of an attempt, written down: an outcome, another try, members, or nothing."""

from __future__ import annotations

import logging
import math
from functools import partial
from typing import Any

from agents.asking import is_handoff
from agents.plan import Expand, narrowed, scoped, streamed
from app.concurrency.fibers import blocking, wait
from app.execution.acting.hearing import wake_callers
from app.execution.answers import cancelled, failed, kept
from app.execution.attempts.sequels import sequel
from app.execution.attempts.unwritten import is_written, once_written, row_of
from app.execution.context import Step
from app.execution.patience import NotWrittenError, keep_trying
from app.execution.publish import publish
from app.execution.runtime import Runtime
from app.execution.sessions import Talk
from app.journal.schema.rows import Aftermath, Claimed, Finished, NewExchange
from celery_agents.contracts.conversation import ChatMessage
from celery_agents.contracts.outcome import FREE, ErrorInfo, Outcome, State, Usage
from celery_agents.errors import JournalUnavailableError, RetryableError, StepCancelledError
from celery_agents.light import light

log = logging.getLogger(__name__)

#: What an outcome has beside what its agent said, and a store may refuse.
_PLAIN = {"agent", "member", "usage", "attempts", "duration_s"}


@light(frozen=True, slots=True)
class Ended:
    """The step has ended, now or before."""

    outcome: Outcome
    claim: Claimed | Finished
    other: bool = False  # this message asks for something else than the row of its id
    then: Claimed | None = None  # the step that its end has begun, in this process
    #: Whether its run has read what others wrote; None: the journal knows.
    untrusted: bool | None = None


@light(frozen=True, slots=True)
class Again:
    """The step is tried again after a while; the row says so already."""

    claim: Claimed
    error: RetryableError
    delay_s: float


@light(frozen=True, slots=True)
class Left:
    """The message has done its work, or there is none for it."""

    why: str


#: The endings that a message can have.
Ending = Ended | Again | Left


class Ends:
    """Writes down how an attempt ends, and does what follows."""

    def __init__(self, runtime: Runtime, claim: Claimed, until: float = -math.inf) -> None:
        self._runtime = runtime
        self._until = until  # until then its end may begin what follows
        self._journal = runtime.journal
        self.claim = claim
        self.step: Step | None = None  # once its code runs
        self.talk: Talk | None = None  # its part in a session
        self.told = False  # whether somebody is told of its end

    @property
    def spent(self) -> Usage:
        """The usage up to now of its calls, and of agents that it asked."""
        return FREE if self.step is None else self.step.spent + self.step.of_members

    @property
    def stopped(self) -> Outcome:
        """The outcome of a step that was cancelled now."""
        return cancelled(self.claim, self.spent)

    def finish(self, outcome: Outcome) -> Ending:
        """Write the outcome; if the journal refuses it, a failed one with the same cost."""
        outcome, exchange = self._kept(outcome), None
        turns: tuple[ChatMessage, ...] = ()
        if (step := self.step) is not None:
            turns = step.turns
            if step.left_out:
                outcome = outcome.model_copy(update={"left_out": step.left_out})
        if self.talk is not None:
            outcome, exchange = self.talk.ended(outcome, turns, untrusted=self._untrusted)
        elif turns and outcome.ok and is_handoff(self.claim.member or ""):
            outcome = outcome.model_copy(update={"turns": turns})
        try:
            return self._write_end(outcome, exchange)
        except NotWrittenError as refused:
            told = outcome.model_dump(include=_PLAIN)
            error = ErrorInfo.of(refused.told)
        return self._write_end(Outcome(state=State.FAILED, error=error, **told))

    @property
    def _untrusted(self) -> bool:
        """True when it, or a member of its run, has read what others wrote."""
        if (here := self._known_untrusted) is not None:
            return here
        known = partial(blocking, self._journal.memories.untrusted, self.claim.run_id)
        return keep_trying(self.claim.id, known)

    @property
    def _known_untrusted(self) -> bool | None:
        """The same, where it is known here: at its first claim a root has had no members."""
        if self.claim.untrusted or (self.step is not None and self.step.distrusted):
            return True
        return False if self.claim.token == 1 else None

    def _write_end(self, outcome: Outcome, exchange: NewExchange | None = None) -> Ending:
        more = {} if self.step is None else _with_end(self.step, outcome)
        if not (more or exchange is not None or self.told):
            then = sequel(self._runtime, self.claim, outcome, self._until)
            if then is not None:
                if (row := row_of(then)) is not None and row.first is self.claim:
                    row.first_ends = partial(self._finish_alone, outcome)
                once_written(then, partial(self._count, outcome))
                self._tell(outcome.state)
                return Ended(outcome, self.claim, then=then)
        _write_before(self._runtime, self.claim)

        def write() -> Aftermath:
            return wait(self._journal.finish(self.claim, outcome, exchange, told=self.told, **more))

        aftermath = keep_trying(self.claim.id, write)
        if not aftermath.applied:
            return self._too_late()
        self._count(outcome)
        self._tell(outcome.state)
        self._runtime.follow(aftermath)
        return Ended(outcome, self.claim, untrusted=self._known_untrusted)

    def _finish_alone(self, outcome: Outcome) -> None:
        """Write an end that could not be written together with what came behind it."""
        alone = Ends(self._runtime, self.claim)
        alone.step = self.step
        alone.finish(outcome)

    def _count(self, outcome: Outcome) -> None:
        """Count an end that the journal has taken."""
        if (metrics := self._runtime.metrics) is None:
            return
        claim = self.claim
        metrics.ended(claim.task, claim.agent, outcome, root=claim.id == claim.run_id)
        if claim.agent is not None and not (self.step is not None and self.step.has_calls):
            metrics.spent(claim.agent, outcome.usage)  # else its calls were counted

    def count_again(self, error: RetryableError) -> None:
        """Count an attempt after which another one comes."""
        if (metrics := self._runtime.metrics) is not None:
            metrics.again(self.claim.agent, error.kind)

    def _tell(self, state: State) -> None:
        """Tell watchers; before what follows, so that nobody hears of the end ahead of it."""
        if self.step is not None and self.step.teller is not None:
            wait(self.step.teller.end(state))

    def postpone(self, **how: Any) -> Ended | Left | None:
        """Let another claim go on; return how it ended if it was cancelled or lost meanwhile."""
        self._write_calls()
        stopped = self._kept(self.stopped)
        postponed = keep_trying(
            self.claim.id,
            lambda: wait(self._journal.postpone(self.claim, cancelled=stopped, **how)),
        )
        if not postponed.applied:
            return self._too_late()
        if postponed.outcome is not None:
            self._count(postponed.outcome)
        self._tell(State.READY if postponed.outcome is None else postponed.outcome.state)
        self._runtime.follow(postponed)
        return None if postponed.outcome is None else Ended(postponed.outcome, self.claim)

    def expand(self, plan: Expand) -> Ending:
        """Let the step wait for its members: ``Task.replace`` by a chord of them and itself.

        Celery's own would send the chord's body along with each member, and look at all members
        several times. The journal holds the body and counts the members, so a write of their
        messages is all that is left to do.
        """
        self._write_calls()
        about: dict[str, Any] = {}
        if (step := self.step) is not None:
            plan = streamed(plan) if step.streamed else plan
            plan = scoped(plan, step.scope) if step.scope else plan
            about |= {"ended_members": step.ended_members, "entries": step.recorded}
            if (allowance := step.allowance) is not None:
                plan = narrowed(plan, allowance.caps)
                read = partial(blocking, allowance.bounds)
                about["bounds"] = keep_trying(self.claim.id, read)
        try:
            expanded = keep_trying(
                self.claim.id, lambda: wait(self._journal.expand(self.claim, plan, **about))
            )
        except NotWrittenError as refused:
            return self.finish(failed(refused.told, self.claim, self.spent))
        if not expanded.applied:
            return self.finish(self.stopped)
        self._tell(State.WAITING)
        self.free()  # quick members may wake it before all are sent
        self._runtime.follow(expanded)
        if step is not None and step.callers:
            wake_callers(self._runtime, step.callers)
        wait_s = plan.join.timeout_s or 0.0
        # What waits for anything has no message for its time: it may be let on a thousand times
        # until then. Recovery looks when it is due.
        timer = None if plan.awaited is not None else expanded.timer
        if timer is not None and wait_s <= self._runtime.settings.countdown_limit_s:
            # Else recovery sees that it is late: a worker would hold the message until then.
            publish(self._runtime.app, [timer], countdown=wait_s)
        publish(self._runtime.app, expanded.members)
        return Left(f"{self.claim.id}: waits for its members")

    def _write_calls(self) -> None:
        """Wait for finished calls to be written: the step's next claim would make them again."""
        _write_before(self._runtime, self.claim)
        if (step := self.step) is not None and step.has_calls:
            keep_trying(self.claim.id, lambda: blocking(step.calls.written))

    def leave(self) -> Left:
        """Leave the row: its id names another call under way, which has a message of its own."""
        log.warning("%s names another call; this one is refused", self.claim.id)
        given_back = keep_trying(
            self.claim.id, lambda: wait(self._journal.postpone(self.claim, delay_s=0))
        )
        self.free()
        self._runtime.follow(given_back)
        return Left(f"{self.claim.id}: names another call")

    def free(self) -> None:
        """Forget the step here, so that this process can take its next message."""
        self._runtime.active.pop(self.claim.id, None)

    def _kept(self, outcome: Outcome) -> Outcome:
        known = self.step is not None and self.step.has_calls
        return kept(outcome, self._runtime.settings.answer_limit_bytes, known=known)

    def _too_late(self) -> Left:
        """Leave the message: another worker had the lease, or the claim itself is lost.

        A claim's commit waits for no disk, so a database that crashed may have forgotten the row
        that it made. Nothing was paid then (see writer.py); the message runs once more.

        Raises:
            JournalUnavailableError: there is no such row any more.
        """
        if not blocking(self._journal.known, self.claim.id):
            raise JournalUnavailableError("The database lost its row, in a crash.")
        return Left(f"{self.claim.id}: too late, another worker had its lease")


def _with_end(step: Step, outcome: Outcome) -> dict[str, Any]:
    """Return what a step leaves that is written with its end."""
    more: dict[str, Any] = {}
    if step.emitted or step.recorded or step.lets_go:
        more["entries"] = [*step.recorded, *(step.emitted if outcome.ok else ())]
        more |= {"lets_go": step.lets_go, "begins": step.begins}
    if step.learned and outcome.ok:
        more["memories"] = [*step.learned.values()]
    if step.lesson is not None:
        more["lesson"] = step.lesson.of(outcome, step.used, read=step.distrusted)
    return more


def _write_before(runtime: Runtime, claim: Claimed) -> None:
    """Have ends written that come before a step which began ahead of them.

    Where they are refused, the first one is told as others are, and what came behind is done again.

    Raises:
        NotWrittenError: they were refused; this step has no row.
    """
    if (row := row_of(claim)) is None or is_written(row):
        return
    if row.is_given_up():
        runtime.active.pop(claim.id, None)  # another way may ask the same at once
        row.first_ends()
    raise NotWrittenError(StepCancelledError("Its flow goes on in another way."))
