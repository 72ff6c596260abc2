"""A turn's way through the limits: each of its requests is admitted, and told of when it ended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, nullcontext
from typing import Any

from pydantic import ValidationError

from agents.base import Turn
from agents.catalog.registry import Registered
from agents.needs import Expect, Needs, expected
from agents.net.told_limits import Told, listening
from agents.values import text_of
from app.admission.limits import Asker, NotAdmitted, SharedLimits, Ticket
from app.admission.scripts import Query
from app.concurrency.fibers import arrival
from app.concurrency.future import Future
from celery_agents.contracts.outcome import Usage
from celery_agents.errors import AgentsError, PermanentError, RateLimitedError

#: A provider that refuses without saying when to come again, or says at once, closes its key for so
#: long: refusals use no attempts up, so nothing else would bound how often it is asked.
REFUSED_S = 1.0


class UnderWay:
    """A request under way, with what is told of it meanwhile."""

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.told: list[Told] | None = None  # by its provider, where somebody listens
        self.since = time.monotonic()


class Passage:
    """A turn's way through the limits that cover its agent.

    Its first request is asked for ahead, together with the agent's breakers. A turn that makes no
    requests of its own, as a function's, is one itself.
    """

    def __init__(self, limits: SharedLimits, agent: Registered, turn: Turn, step: Any) -> None:
        self._limits = limits
        self._agent = agent
        self._asker = Asker(step.step_id, step.tenant, step.priority, again=step.tries > 1)
        self._run_id = step.run_id
        self._policies = limits.of(agent)
        self._learns = any(policy.learn for policy in self._policies.values())
        self._ticket: Ticket | None = self._of(_of_turn(turn))
        self._itself = True  # whether the turn is its only request

    # -- of the turn, by its guard

    def asking(self) -> Query:
        """The question for its first request."""
        assert self._ticket is not None
        return self._limits.asking(self._ticket)

    async def entered(self, answer: NotAdmitted | float) -> None:
        """Take the answer to that, and wait until it is to go out.

        Raises:
            NotAdmittedError: it is refused.
        """
        if isinstance(answer, NotAdmitted):
            self._ticket = None
            raise answer.error()
        await asyncio.sleep(answer)

    def given_up(self, asked: Future[list[Any]]) -> None:
        """Give back what the first request gets, since nobody waits for it any more."""
        ticket, self._ticket = self._ticket, None
        asked.add_done_callback(lambda done: self._give_back(done, ticket))

    def close(self, usage: Usage | None, error: BaseException | None) -> None:
        """End the turn; what it took and did not use is free."""
        ticket, self._ticket = self._ticket, None
        if ticket is not None and self._itself:
            self._tell(ticket, usage, error)
        elif ticket is not None:
            self._limits.tell(ticket, None)

    # -- of its requests, by its calls

    def replayed(self) -> None:
        """Note that a request needed no admission: its answer is known."""
        self._itself = False

    @asynccontextmanager
    async def request(self, expect: Expect) -> AsyncIterator[UnderWay]:
        """Let a request pass.

        Raises:
            NotAdmittedError: a limit is used up.
        """
        self._itself = False
        ticket, self._ticket = self._ticket, None
        if ticket is None:
            ticket = await self._enter(expect())
        made = UnderWay()
        try:
            with listening() if self._learns else nullcontext() as made.told:
                yield made
        except BaseException as error:
            self._tell(ticket, _usage_of(error), error, made)
            if isinstance(error, RateLimitedError):  # it waits where others wait for that key
                error.refusal = NotAdmitted(ticket, 0, closed_s(error), 0)
            raise
        self._tell(ticket, made.usage, None, made)

    async def _enter(self, needs: Needs) -> Ticket:
        ticket = self._of(needs)
        asked = self._limits.scripts.run_all([self._limits.asking(ticket)])
        try:
            (answer,) = await arrival(asked)
            if not isinstance(answer, NotAdmitted):
                await asyncio.sleep(answer)
                return ticket
        except asyncio.CancelledError:
            asked.add_done_callback(lambda done: self._give_back(done, ticket))
            raise
        raise answer.error()

    def _of(self, needs: Needs) -> Ticket:
        return self._limits.ticket(self._agent, self._asker, self._run_id, needs)

    def _give_back(self, done: Future[list[Any]], ticket: Ticket | None) -> None:
        if ticket is None or done.exception() is not None:
            return
        if not isinstance(done.result()[-1], NotAdmitted):
            self._limits.tell(ticket, None)

    def _tell(
        self,
        ticket: Ticket,
        usage: Usage | None,
        error: BaseException | None,
        made: UnderWay | None = None,
    ) -> None:
        said: list[Sequence[Any]] = []
        if made is not None and made.told is not None:
            said += self._learned(ticket, made, error)
        said += _refused(self._agent.account, error)
        self._limits.tell(ticket, _real(ticket.needs, usage, error), said)

    def _learned(
        self, ticket: Ticket, made: UnderWay, error: BaseException | None
    ) -> Iterator[Sequence[Any]]:
        """Say what its provider told of its limits, or that it told nothing."""
        account, told = self._agent.account, (made.told or [Told()])[-1]
        if not told.limits and isinstance(error, RateLimitedError):
            yield ("refused", account)
        elif not told.limits and error is None:
            yield ("answered", account)
        for what, number in told.limits.items():
            yield ("learned", account, what, number)
        elapsed_ms = (time.monotonic() - made.since) * 1000
        for place, one in enumerate(ticket.wanted, 1):
            left = told.remaining.get(one.what or "")
            if left is not None and self._policies[one.limit].learn:
                yield ("left", place, left, elapsed_ms)


def _of_turn(turn: Turn) -> Needs:
    """Tokens that the first request of a turn will take."""
    texts = (text_of(turn.input), turn.instructions or "", *(m.text for m in turn.messages))
    return expected(sum(map(len, texts)))


def _real(needs: Needs, usage: Usage | None, error: BaseException | None) -> Needs:
    """Tokens that a request took: as its provider says, else as is likely after such an end."""
    if usage is not None and (usage.input_tokens or usage.output_tokens):
        return Needs(usage.input_tokens, usage.output_tokens)
    if isinstance(error, RateLimitedError | PermanentError):
        return Needs()  # it was not read
    return Needs(needs.input_tokens, needs.output_tokens if error is None else 0)


def _refused(account: str, error: BaseException | None) -> Sequence[Sequence[Any]]:
    """Close the key of a provider that has refused, for as long as it says."""
    if not isinstance(error, RateLimitedError):
        return ()
    return [("pause", account, closed_s(error) * 1000)]


def closed_s(error: RateLimitedError) -> float:
    """Return for how many seconds a provider's refusal closes its key."""
    return error.retry_after_s or REFUSED_S


def _usage_of(error: BaseException) -> Usage | None:
    told = error.details.get("usage") if isinstance(error, AgentsError) else None
    try:
        return None if told is None else Usage.model_validate(told)
    except ValidationError:
        return None
