"""A claimed step as the code that runs it sees it (the StepContext of agents.backends.base)."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from app.fibers import arrival
from app.journal.rows import Claimed
from app.plan import MemberState, Tally
from app.reply import Reply
from celery_agents.contracts.base import JsonValue
from celery_agents.contracts.outcome import Answer, ErrorInfo, Usage
from celery_agents.errors import AgentsError, StepCancelledError

if TYPE_CHECKING:
    from app.runtime import Runtime

log = logging.getLogger(__name__)
_NOTHING = Usage()


class Step:
    """One claim of one step."""

    def __init__(self, runtime: Runtime, claim: Claimed, *, send_progress: Any = None) -> None:
        self.runtime = runtime
        self.claim = claim
        self.spent = _NOTHING
        self._unwritten: list[tuple[Reply[None], Callable[[], Reply[None]]]] = []
        self._calls = 0
        self._before: dict[tuple[int, str], dict[str, Any]] | None = None
        self._send_progress = send_progress

    @property
    def step_id(self) -> str:
        return self.claim.id

    @property
    def run_id(self) -> str:
        return self.claim.run_id

    @property
    def attempt(self) -> int:
        return self.claim.attempt

    @property
    def asked_to_stop(self) -> bool:
        """Whether it is cancelled, or its worker stops, rather than being late."""
        active = self.runtime.active.get(self.claim.id)
        return self.runtime.stopping or (active is not None and active.cancelled)

    def members(self) -> list[MemberState]:
        """The members of earlier expansions of this step."""
        return self.runtime.journal.members(self.claim.id) if self.claim.token > 1 else []

    def tally(self) -> Tally:
        """The same in numbers, with their values where one message can hold them.

        Half of what a payload may have: what follows in a chain takes it as its input.
        """
        if self.claim.token == 1:
            return Tally()
        within = self.runtime.settings.payload_limit_bytes // 2
        return self.runtime.journal.tally(self.claim.id, values_within=within)

    async def call(
        self, name: str, perform: Callable[[str], Awaitable[Answer]], *, fingerprint: str = ""
    ) -> Answer:
        """Make one paid or outside act, unless an earlier attempt finished it."""
        seq, self._calls = self._calls, self._calls + 1
        answer = (await self._finished_before()).get((seq, fingerprint))
        if answer is not None:
            known = Answer.model_validate(answer)
            self.spent += known.usage  # should this attempt fail, the step has cost it all the same
            return known
        # Of what is asked too: a backup of another name gets no key that another request had.
        about = f"{self.claim.id}/{seq}/{name}/{fingerprint}"
        key = str(uuid.uuid5(uuid.NAMESPACE_OID, about))
        journal = self.runtime.journal
        if not await arrival(journal.start_call(self.claim, seq, name, fingerprint, key)):
            raise StepCancelledError("Another worker has its lease; the call was not made.")
        try:
            result = await perform(key)
        except AgentsError as error:
            # A call that failed may have cost something all the same; its error tells.
            self.spent += Usage.model_validate(error.details.get("usage") or {})
            self._finish(seq, None, ErrorInfo.of(error))
            raise
        self.spent += result.usage
        # Not waited for: the writer commits it before, or with, whatever this step writes next.
        self._finish(seq, result.compact(), None)
        return result

    def _finish(self, seq: int, answer: dict[str, Any] | None, error: ErrorInfo | None) -> None:
        def write() -> Reply[None]:
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
            self._before = await asyncio.to_thread(
                self.runtime.journal.finished_calls, self.claim.id
            )
        return self._before

    async def progress(self, **fields: JsonValue) -> None:
        """Send a ``task-progress`` event for Flower and other watchers; never fails the step."""
        if self._send_progress is not None:
            try:
                await asyncio.to_thread(self._send_progress, fields)
            except Exception:
                log.debug("A progress event was not sent", exc_info=True)
