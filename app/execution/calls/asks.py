"""The agents that a step's code asks in its midst: ``await step.ask("reviewer", text)``.

Each is a member of the step, found by what it is asked. One that has not ended yet suspends the
code: it is cancelled where it waits, and runs from its start again when its members have ended.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from agents.asking import asked, value_of
from agents.plan import Expand, Member
from agents.tools.clients import question
from agents.values import digest
from app.execution.calls.calls import StepCalls
from celery_agents.contracts.approval import ClientRequest
from celery_agents.contracts.ask import Ask
from celery_agents.contracts.base import JsonValue
from celery_agents.contracts.outcome import Outcome
from celery_agents.errors import AgentFailedError

#: Turns of the loop in which code beside a question may come to one of its own.
_TURNS = 10
#: Characters of an agent's name in a member's key.
_NAME = 100


class Asks:
    """The questions of one attempt.

    Args:
        calls: the attempt's calls; they come to their end before the code is suspended.
        answered: gives the members that have ended, by their keys.
        code: what is suspended.
    """

    def __init__(
        self,
        calls: StepCalls,
        answered: Callable[[], Awaitable[Mapping[str, Outcome]]],
        code: asyncio.Task[Any],
    ) -> None:
        self.suspended = False
        self._calls = calls
        self._answered = answered
        self._times: Counter[str] = Counter()
        self._wanted: dict[str, Member] = {}
        self._around: set[str] = set()  # calls in which questions stand
        self._coming = 0  # questions whose answers are being looked for
        self._code = code
        self._suspending: asyncio.Task[None] | None = None

    async def ask(self, ask: Ask) -> JsonValue:
        """The answer of another agent.

        Raises:
            AgentFailedError: it failed; or the question stands in a call that is made once.
        """
        around = self._around_of(ask.agent)
        outcome = await self._end(asked(self._key(ask, around), ask), around)
        return value_of(ask.agent if ask.spec is None else ask.spec.called, outcome)

    async def ask_client(self, request: ClientRequest) -> JsonValue:
        """The answer of the program that called the tool which asks.

        Raises:
            AgentFailedError: nobody answers any more; or the question stands in a call that is
                made once.
        """
        around = self._around_of("The client")
        about = f"client:{digest([around[:1], request.compact()])}"
        self._times[about] += 1
        outcome = await self._end(question(request, around, self._times[about]), around)
        return value_of("The client", outcome)

    def _around_of(self, who: str) -> tuple[str, ...]:
        around, once = self._calls.around()
        if once:
            raise AgentFailedError(
                f"{who} cannot be asked within {once}, which is made once at the most: ask "
                "before or after it."
            )
        return around

    async def _end(self, member: Member, around: tuple[str, ...]) -> Outcome:
        """The end of a member, at once where there is one; else the code is suspended."""
        self._coming += 1
        try:
            outcome = (await self._answered()).get(member.key)
        finally:
            self._coming -= 1
        if outcome is not None:
            return outcome
        if self.suspended:  # who goes on all the same waits for nobody any more
            raise asyncio.CancelledError
        self._wanted[member.key] = member
        self._around.update(around)
        if self._suspending is None:
            self._suspending = asyncio.create_task(self._suspend())
        return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]

    @property
    def wanted(self) -> Expand:
        """The members that the step waits for."""
        return Expand(members=tuple(self._wanted.values()))

    def resume(self) -> None:
        """Take the cancellation back by which the code was suspended."""
        self._code.uncancel()

    def close(self) -> None:
        """Suspend nothing any more: the code has ended."""
        if self._suspending is not None:
            self._suspending.cancel()

    def _key(self, ask: Ask, around: tuple[str, ...]) -> str:
        """The same in each attempt: what is asked, within which call, the how-manieth time."""
        about = digest([around[:1], ask.compact()])
        self._times[about] += 1
        return f"ask:{ask.agent[:_NAME]}/{about}.{self._times[about]}"

    async def _suspend(self) -> None:
        """Cancel the code once nothing of it is under way that would be lost."""
        while True:
            for _ in range(_TURNS):
                await asyncio.sleep(0)
            if not self._coming and await self._calls.still(beside=self._around):
                break
        self.suspended = True
        self._code.cancel()
