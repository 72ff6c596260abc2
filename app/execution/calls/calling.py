"""A claimed step as it makes calls."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from agents.caching.cacheable import Cacheable
from agents.guarding.untrusted import marked
from agents.needs import Expect
from agents.performing import Perform
from app.admission.budgets.charging import Purse
from app.admission.guard import Gate
from app.admission.limits.passage import Passage
from app.concurrency.fibers import in_thread
from app.execution.calls.asks import Asks
from app.execution.calls.calls import StepCalls
from app.execution.runtime import Runtime
from app.execution.telling import Telling
from app.execution.turns import TurnHelpers
from app.journal.schema.rows import Claimed
from celery_agents.contracts.approval import ClientRequest
from celery_agents.contracts.base import JsonValue
from celery_agents.contracts.outcome import FREE, Answer, Outcome, Usage


class Calling(Telling):
    """Makes the calls of one claim of a step."""

    def __init__(self, runtime: Runtime, claim: Claimed, *, streamed: bool) -> None:
        super().__init__(runtime, claim, streamed=streamed)
        self._asks: Asks | None = None  # once it asks others
        self._code: asyncio.Task[Any] | None = None
        self._calls: StepCalls | None = None  # once there is one: many steps make none
        #: Raises when no more may be paid.
        self._afford: Callable[[], None] | None = None

    @property
    def calls(self) -> StepCalls:
        """Its calls."""
        if self._calls is None:
            self.settle()
            self._calls = StepCalls(self.runtime, self.claim, self._afford)
        return self._calls

    @property
    def has_calls(self) -> bool:
        """True when it made a call, or read one from the journal."""
        return bool(self._calls)

    @property
    def spent(self) -> Usage:
        """The usage of its calls up to now."""
        return FREE if self._calls is None else self._calls.spent

    async def spent_in_all(self) -> Usage:
        """The usage of its calls, with those that this attempt need not ask for again."""
        if self.claim.token > 1:  # the first claim has no earlier calls
            await self.calls.pass_over()
        return self.spent

    def limit(self, passage: Passage | None) -> None:
        """Let its requests pass there from now on; None: nowhere."""
        if passage is not None or self._calls is not None:
            self.calls.passage = passage

    def charge(self, purse: Purse | None) -> None:
        """Have its requests counted there from now on."""
        if purse is not None or self._calls is not None:
            self.calls.purse = purse

    def enter(self, gate: Gate | None) -> None:
        """Await this before the first act of the turn that is not known already."""
        if gate is not None or self._calls is not None:
            self.calls.gate = gate

    async def answered(self) -> Mapping[str, Outcome]:
        """The members of this step that have ended, by their keys."""
        raise NotImplementedError

    async def ask_client(self, request: ClientRequest) -> JsonValue:
        """Ask the program that called the tool which asks; see :mod:`agents.tools.clients`."""
        return await self.questions().ask_client(request)

    def questions(self) -> Asks:
        """The questions that its code asks others."""
        if self._asks is None:
            assert self._code is not None, "it is asked within its code"
            self._asks = Asks(self.calls, self.answered, self._code)
        return self._asks

    @property
    def _suspended(self) -> bool:
        return self._asks is not None and self._asks.suspended

    def helpers(self) -> TurnHelpers:
        """Agents that are asked within it, about what it asks and what it is answered."""
        return TurnHelpers(self.runtime.agents.turns, self)

    async def call(
        self,
        name: str,
        perform: Perform,
        *,
        fingerprint: str = "",
        once: bool = False,
        expect: Expect | None = None,
        cache: Cacheable | None = None,
    ) -> Answer:
        """Make one paid or outside act, unless an earlier attempt finished it, or it is cached."""
        await self.settled()
        about: Any = {"once": once, "expect": expect}
        if cache is not None:
            about |= {"cache": cache, "step": self}
        return await self.calls.make(name, perform, fingerprint=fingerprint, **about)

    async def distrust(self) -> None:
        """Take note that the run has read what others wrote."""
        if not self.distrusted:
            await self.settled()
            await in_thread(self.runtime.journal.memories.distrust, self.run_id)
            self.distrusted = True

    async def has_read(self) -> bool:
        """Return whether the run has, as it is now."""
        if self.distrusted or marked(self.claim.payload):
            return True
        return await in_thread(self.runtime.journal.memories.untrusted, self.run_id)

    async def untrusted(self, about: str) -> bool:
        """Return whether the run has, of one ``about`` the same in each attempt: journaled."""
        if self.distrusted or marked(self.claim.payload):
            return True

        async def look() -> Answer:
            return Answer(value=await self.has_read())

        return bool((await self.call("untrusted", look, fingerprint=about[:64])).value)

    async def made(
        self, name: str, *, fingerprint: str = "", once: bool = False, after: int = 0
    ) -> bool:
        """Return whether an earlier attempt has made a call, so that it would not be made again."""
        await self.settled()
        return await self.calls.known(name, fingerprint, once=once, after=after)
