"""A claimed step as the code that runs it sees it (the StepContext of agents.base)."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from pydantic import ValidationError

from agents.patterns.plan import MemberState, Tally
from agents.performing import Perform, performed
from app.concurrency.fibers import arrival, in_thread
from app.concurrency.future import Future
from app.execution.answers import bounded, too_large
from app.execution.runtime import Active, Runtime
from app.journal.schema.rows import Claimed
from app.journal.steps.calls import Begun
from celery_agents.contracts.base import JsonValue
from celery_agents.contracts.outcome import Answer, ErrorInfo, Usage
from celery_agents.errors import (
    AgentFailedError,
    AgentsError,
    StepCancelledError,
)
from celery_agents.noted import note
from celery_agents.values import KNOWN

log = logging.getLogger(__name__)
_NOTHING = Usage()
#: The journal's columns for a call.
_NAME_MAX, _FINGERPRINT_MAX = 200, 64


class Step:
    """One claim of one step."""

    def __init__(self, runtime: Runtime, claim: Claimed, active: Active | None = None) -> None:
        self.runtime = runtime
        self._active = active or Active(claim)
        self.claim = claim
        self.spent = _NOTHING
        self.ended_members: int | None = None  # of those that it has looked at
        self._unwritten: list[tuple[Future[None], Callable[[], Future[None]]]] = []
        self._calls = 0
        self._before: dict[tuple[int, str], dict[str, Any]] | None = None

    @property
    def step_id(self) -> str:
        """The id of the step."""
        return self.claim.id

    @property
    def run_id(self) -> str:
        """The id of the run that the step belongs to."""
        return self.claim.run_id

    @property
    def attempt(self) -> int:
        """The number of this attempt, from 1."""
        return self.claim.attempt

    @property
    def tries(self) -> int:
        """The number of claims that the step has had, from 1."""
        return self.claim.token

    @property
    def has_called(self) -> bool:
        """True when it made a call of its own, or read one from the journal."""
        return self._calls > 0

    @property
    def asked_to_stop(self) -> bool:
        """True when it is cancelled or its worker stops; being late does not count."""
        return self.runtime.stopping or self._active.cancelled

    @property
    def over(self) -> bool:
        """True when nobody goes on with what it waits for: cancelled, late, or the last attempt."""
        if self._active.lost or self.runtime.stopping:
            return False
        late = self.claim.left_s is not None and self.claim.left_s <= 0
        return self._active.cancelled or late or self.claim.attempt >= self.claim.max_attempts

    def members(self) -> list[MemberState]:
        """The members of earlier expansions of this step."""
        found = self.runtime.journal.members(self.claim.id) if self.claim.token > 1 else []
        self.ended_members = sum(m.state.final for m in found)
        return found

    def tally(self) -> Tally:
        """Return the numbers of members, with their values where one message can hold them.

        Half of what a payload may have: what follows in a chain takes it as its input.
        """
        if self.claim.token == 1:
            return Tally()
        within = self.runtime.settings.payload_limit_bytes // 2
        return self.runtime.journal.tally(self.claim.id, values_within=within)

    async def call(self, name: str, perform: Perform, *, fingerprint: str = "") -> Answer:
        """Make one paid or outside act, unless an earlier attempt finished it.

        ``perform`` gets the idempotency key, if it takes an argument, and gives an Answer or its
        value; it may be a coroutine function or a plain one, which runs in a thread.

        Raises:
            AgentFailedError: the name or the fingerprint is none that the journal takes.
            AnswerTooLargeError: it answered more than ``answer_limit_bytes``; that is not kept.
        """
        _check_call(name, fingerprint)
        seq, self._calls = self._calls, self._calls + 1
        if (known := await self._known(seq, fingerprint)) is not None:
            return known
        # Of what is asked too: a backup of another name gets no key that another request had.
        about = f"{self.claim.id}/{seq}/{name}/{fingerprint}"
        key = str(uuid.uuid5(uuid.NAMESPACE_OID, about))
        start = self.runtime.journal.start_call(self.claim, seq, name, fingerprint, key)
        begun = await arrival(start)
        if begun is Begun.KNOWN:  # a worker whose lease ran out finished it late
            self._before = None
            if (known := await self._known(seq, fingerprint)) is not None:
                return known
        if begun is not Begun.YES:
            raise StepCancelledError("Another worker has its lease; the call was not made.")
        limit = self.runtime.settings.answer_limit_bytes
        try:
            result = await performed(name, perform, key)
            if (error := too_large(result.value, limit)) is not None:
                error.details["usage"] = result.usage.compact()
                raise error
        except AgentsError as error:
            # A call that failed may have cost something all the same; its error tells.
            self.spent += _usage_of(error)
            self._finish(seq, None, bounded(ErrorInfo.of(error), limit))
            raise
        self.spent += result.usage
        # Not waited for: the writer commits it before, or with, whatever this step writes next.
        self._finish(seq, result.compact(), None)
        return result

    async def _known(self, seq: int, fingerprint: str) -> Answer | None:
        """Return the answer of an earlier attempt; its cost counts for this one as well."""
        told = (await self._finished_before()).get((seq, fingerprint))
        if told is None:
            return None
        if "kind" in told:  # it was too large to be kept
            error = ErrorInfo.model_validate(told).exception()
            self.spent += _usage_of(error)
            raise error
        known = Answer.model_validate(told, context=KNOWN)
        self.spent += known.usage
        return known

    def _finish(self, seq: int, answer: dict[str, Any] | None, error: ErrorInfo | None) -> None:
        def write() -> Future[None]:
            return self.runtime.journal.finish_call(self.claim, seq, answer, error)

        self._unwritten.append((write(), write))

    def calls_written(self) -> None:
        """Wait until every finished call is in the journal: another attempt would make it again.

        Raises:
            JournalUnavailableError: one was refused; it is being written anew.
        """
        for place, (future, write) in enumerate(self._unwritten):
            if (error := future.exception()) is not None:
                self._unwritten[place] = (write(), write)
                raise error

    async def _finished_before(self) -> dict[tuple[int, str], dict[str, Any]]:
        if self.claim.token == 1:  # the first claim of a step has no earlier calls
            return {}
        if self._before is None:  # calls that begin at once may each read it; none goes without
            self._before = await in_thread(self.runtime.journal.finished_calls, self.claim.id)
        return self._before

    async def note(self, kind: str, data: Sequence[dict[str, str]]) -> None:
        """Write events of this step; a journal that is away fails nothing: they are for people."""
        try:
            await in_thread(self.runtime.journal.note, self.run_id, self.step_id, kind, data)
        except AgentsError as error:
            note(log, "events", "Events of %s were not written", self.step_id, error=error)

    async def progress(self, **fields: JsonValue) -> None:
        """Send a ``task-progress`` event for Flower and other watchers; never fails the step.

        What is no JSON value is not sent: one such event would end whoever reads them.
        """
        await self.runtime.progress.tell(self.claim.id, fields)


def _check_call(name: str, fingerprint: str) -> None:
    fits = 0 < len(name) <= _NAME_MAX and len(fingerprint) <= _FINGERPRINT_MAX
    if not (fits and name.isprintable() and fingerprint.isprintable()):
        raise AgentFailedError(
            f"A call's name is a line of at most {_NAME_MAX} characters, its fingerprint one of "
            f"{_FINGERPRINT_MAX}: give a digest."
        )


def _usage_of(error: AgentsError) -> Usage:
    """Return the cost of a failed call if its error tells it; anybody may have raised that."""
    try:
        return Usage.model_validate(error.details.get("usage") or {})
    except ValidationError:
        return _NOTHING
