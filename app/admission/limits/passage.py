"""A turn's way through the limits: each of its requests is admitted, and told of when it ended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any

from pydantic import ValidationError

from agents.base import Turn
from agents.catalog.registry import Registered
from agents.governance.estimate import expected
from agents.needs import Expect, Needs
from agents.net.told_limits import Told, listening
from agents.values import text_of
from app.admission.budgets.charging import Charge
from app.admission.limits.shared import SharedLimits
from app.admission.limits.tickets import Asker, NotAdmitted, Ticket, beside
from app.admission.scripts import Query
from app.concurrency.fibers import arrival
from app.concurrency.future import Future
from celery_agents.contracts.outcome import Usage
from celery_agents.errors import AgentsError, PermanentError, RateLimitedError

#: A provider that refuses without saying when to come again, or says at once, closes its key for so
#: long: refusals use no attempts up, so nothing else would bound how often it is asked.
REFUSED_S = 1.0
_NOBODY: AbstractContextManager[None] = nullcontext()


class UnderWay:
    """A request under way, with what is told of it meanwhile."""

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.told: list[Told] | None = None  # by its provider, where somebody listens
        self.since = time.monotonic()


@dataclass(frozen=True, slots=True)
class Placed:
    """A turn's place at one of several agents: what it has got there, and how it goes on."""

    ticket: Ticket | None  # of its first request; None: it was not asked for
    counted: bool = False  # its load
    #: Others that may go on with the same requests: other keys of the same agent.
    others: tuple[Registered, ...] = ()


class _Request:
    """One request, from its admission to its end."""

    __slots__ = ("_charge", "_expect", "_listening", "_made", "_passage", "_ticket")

    def __init__(self, passage: Passage, expect: Expect, charge: Charge | None) -> None:
        self._passage = passage
        self._expect = expect
        self._charge = charge

    async def __aenter__(self) -> UnderWay:
        self._ticket = await self._passage.begin(self._expect, self._charge)
        self._made = made = UnderWay()
        self._listening = self._passage.listens()
        made.told = self._listening.__enter__()
        return made

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._listening.__exit__(kind, error, trace)
        self._passage.end(self._ticket, self._made, error)


class Passage:
    """A turn's way through the limits that cover its agent.

    Its first request is asked for ahead, together with the agent's breakers. A turn that makes no
    requests of its own, as a function's, is one itself.
    """

    def __init__(
        self,
        limits: SharedLimits,
        agent: Registered,
        turn: Turn,
        step: Any,
        placed: Placed | None = None,
    ) -> None:
        self._limits = limits
        self._agent = agent
        self._asker = asker_of(step)
        self._run_id = step.run_id
        self._routed = placed is not None
        self._placed = placed or Placed(None)
        self._policies = limits.of(agent, step.tenant)
        self._learns = any(policy.learn for policy in self._policies.values())
        self._ticket = self._first(turn) if placed is None else placed.ticket
        self._asked = placed is not None  # whether that one was asked for
        self._itself = True  # whether the turn is its only request
        self._failed: BaseException | None = None

    # -- of the turn, by its guard

    def asking(self) -> Query:
        """The question for its first request."""
        assert self._ticket is not None
        self._asked = True
        return self._limits.asking(self._ticket)

    def answered(self, answer: NotAdmitted | float) -> None:
        """Take the answer to that, whatever else was asked with it: refused, it has got nothing.

        What it has not got is not to be given back: others have used it, and would pass again.
        """
        if isinstance(answer, NotAdmitted):
            self._ticket = None

    async def entered(self, answer: NotAdmitted | float) -> None:
        """Wait until it is to go out.

        Raises:
            NotAdmittedError: it is refused.
        """
        if isinstance(answer, NotAdmitted):
            raise answer.error()
        if answer:
            await asyncio.sleep(answer)

    def given_up(self, asked: Future[list[Any]]) -> None:
        """Give back what the first request gets, since nobody waits for it any more."""
        ticket, self._ticket = self._ticket, None
        asked.add_done_callback(lambda done: self._give_back(done, ticket))

    def unused(self) -> None:
        """Give back what the first request got; the turn does not begin."""
        if (ticket := self._got()) is not None:
            self._limits.tell(ticket, None)

    def close(self, usage: Usage | None, error: BaseException | None) -> None:
        """End the turn; what it took and did not use is free."""
        if not self._itself:
            self.unused()
        elif (ticket := self._got()) is not None:
            self._tell(ticket, usage, error)

    def _got(self) -> Ticket | None:
        """Return the ticket of its first request, if it was asked for and not used; once."""
        ticket, self._ticket = self._ticket if self._asked else None, None
        return ticket

    def failed_by(self, error: BaseException) -> bool:
        """Return whether it was a request that failed so, and not the code around it."""
        return self._itself or self._failed is error

    # -- of its requests, by its calls

    def makes_calls(self) -> None:
        """Note that calls of the turn are its requests, whether one needs admission or not."""
        self._itself = False

    def request(self, expect: Expect, charge: Charge | None = None) -> _Request:
        """Let a request pass; what it may cost is reserved in the same write.

        Raises, as it is entered:
            NotAdmittedError: a limit is used up, or money that others have reserved.
            BudgetExceededError: a budget is spent.
        """
        self._itself = False
        return _Request(self, expect, charge)

    async def begin(self, expect: Expect, charge: Charge | None) -> Ticket:
        """Pass, with the ticket that the turn has got, or another one."""
        ticket, self._ticket = self._ticket, None
        if ticket is None:
            return await self._enter(expect(), charge)
        if charge is not None:
            await self._reserve(charge, ticket)
        return ticket

    def listens(self) -> AbstractContextManager[list[Told] | None]:
        """Listen to what the provider tells of its limits, where that is learned."""
        return listening() if self._learns else _NOBODY

    def end(self, ticket: Ticket, made: UnderWay, error: BaseException | None) -> None:
        """Tell how a request went."""
        if error is None:
            self._tell(ticket, made.usage, None, made)
            return
        self._failed = error
        self._tell(ticket, _usage_of(error), error, made)
        if isinstance(error, RateLimitedError):  # it waits where others wait for that key
            others = self._elsewhere(ticket.needs)
            error.refusal = NotAdmitted(ticket, 0, closed_s(error), 0, others=others)

    async def _enter(self, needs: Needs, charge: Charge | None) -> Ticket:
        ticket = self._of(needs)
        questions = [] if charge is None else [charge.asking()]
        asked = self._limits.scripts.run_all([*questions, self._limits.asking(ticket)])
        try:
            *said, answer = await arrival(asked)
            if not isinstance(answer, NotAdmitted):
                if charge is not None:
                    await charge.answered(said[0])
                if answer:
                    await asyncio.sleep(answer)
                return ticket
        except BaseException:
            asked.add_done_callback(lambda done: self._give_back(done, ticket))
            raise
        raise replace(answer, others=self._elsewhere(needs)).error()

    async def _reserve(self, charge: Charge, ticket: Ticket) -> None:
        """Reserve what was not asked together with the request."""
        try:
            await charge.reserve()
        except BaseException:
            self._limits.tell(ticket, None)
            raise

    def _first(self, turn: Turn) -> Ticket:
        ticket = self._of(Needs())
        if ticket.counts_tokens:
            ticket.needs = needs_of(turn)
        return ticket

    def _of(self, needs: Needs, agent: Registered | None = None) -> Ticket:
        agent = agent or self._agent
        more = beside(agent, counted=self._placed.counted) if self._routed else ()
        return self._limits.ticket(agent, self._asker, self._run_id, needs, more)

    def _elsewhere(self, needs: Needs) -> tuple[NotAdmitted, ...]:
        """The same request to others that may go on; whether they are free is seen there."""
        tickets = (self._of(needs, other) for other in self._placed.others)
        return tuple(NotAdmitted(ticket, 0, None, 0) for ticket in tickets)

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
        provider = self._agent.provider
        if usage is not None and provider is not None and not provider.counts_cached:
            usage = usage.model_copy(
                update={"input_tokens": max(usage.input_tokens - usage.cached_tokens, 0)}
            )
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


def asker_of(step: Any) -> Asker:
    """The step that asks; claimed before, it may have a grant."""
    return Asker(step.step_id, step.tenant, step.priority, again=step.tries > 1)


def needs_of(turn: Turn) -> Needs:
    """Tokens that the first request of a turn will take."""
    return expected(
        [text_of(turn.input), turn.instructions or "", *(m.text for m in turn.messages)]
    )


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
