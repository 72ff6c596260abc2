"""The rows of an attempt's calls, and what those reserve of budgets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from agents.governance.budgets import Amount
from app.admission.budgets.charging import Charge
from app.concurrency.fibers import arrival
from app.concurrency.future import Future
from app.execution.calls.identity import CallId
from app.journal import Journal
from app.journal.schema.rows import Claimed
from app.journal.schema.sealed import sealed_answer
from app.journal.steps.calls import Before, Begun
from celery_agents.contracts.outcome import Answer, ErrorInfo, Usage
from celery_agents.errors import AgentsError, StepCancelledError


class CallRows:
    """Writes an attempt's calls down, before they are made and when they are over."""

    def __init__(self, journal: Journal, claim: Claimed) -> None:
        self._journal = journal
        self._claim = claim
        self._unwritten: list[tuple[Future[None], Callable[[], Future[None]]]] = []

    async def begin(self, call: CallId, *, once: bool, charge: Charge | None) -> Begun | Before:
        """Write the call down, with what it reserves."""
        about = (call.seq, call.name, call.identity, call.key)
        start = partial(self._journal.start_call, self._claim, *about, once=once)
        if charge is None:
            return await arrival(start())
        started = start(reserved=charge.reserved)
        try:
            return await arrival(started)
        except (asyncio.CancelledError, AgentsError) as error:  # its row may be there, or soon
            charge.row_follows()
            why = error
            started.add_done_callback(lambda _: self.unmade(call, charge, why))
            raise

    async def confirm(self, call: CallId, charge: Charge) -> None:
        """Look whether what a call reserved is still reserved, now that its row says so."""
        try:
            await charge.written()
        except BaseException as error:
            self.unmade(call, charge, error)
            raise

    def answered(self, call: CallId, answer: Answer, charge: Charge | None) -> None:
        """Write an answer. The writer commits it before, or with, whatever its step writes next."""
        amount = None if charge is None else charge.after(answer.usage, None)
        told = answer.compact()
        if (seals := self._journal.rules.seals) is not None:
            told = sealed_answer(seals, told, self._claim.id, call.identity)
        self._finish(call, told, None, answer.usage.cost_usd, charge=charge, amount=amount)

    def failed(
        self,
        call: CallId,
        told: ErrorInfo,
        usage: Usage,
        charge: Charge | None,
        error: BaseException,
    ) -> None:
        """Write that a call failed, and what it cost all the same."""
        amount = None if charge is None else charge.after(usage, error)
        self._finish(call, None, told, usage.cost_usd, charge=charge, amount=amount)

    def unmade(self, call: CallId, charge: Charge, error: BaseException) -> None:
        """Finish a call that was begun and not made: it has cost nothing."""
        self._finish(call, None, told_of(error), 0.0, charge=charge, amount=Amount())

    def written(self) -> None:
        """Wait until all of them are in the journal.

        Raises:
            JournalUnavailableError: one was refused; it is being written anew.
        """
        for place, (future, write) in enumerate(self._unwritten):
            if (error := future.exception()) is not None:
                self._unwritten[place] = (write(), write)
                raise error

    def _finish(
        self,
        call: CallId,
        answer: dict[str, Any] | None,
        error: ErrorInfo | None,
        cost_usd: float | None,
        *,
        charge: Charge | None,
        amount: Amount | None,
    ) -> None:
        end = (self._claim, call.seq, answer, error)
        if charge is None or amount is None:
            write = partial(_end, self._journal, end, cost_usd)
        else:
            write = partial(_settle, self._journal, end, charge, amount)
        self._unwritten.append((write(), write))


#: A claim, the place of one of its calls, and the answer or the error with which that ended.
_Ended = tuple[Claimed, int, dict[str, Any] | None, ErrorInfo | None]


def _end(journal: Journal, end: _Ended, cost_usd: float | None) -> Future[None]:
    return journal.finish_call(*end, cost_usd=cost_usd)


def _settle(journal: Journal, end: _Ended, charge: Charge, amount: Amount) -> Future[None]:
    """Write the end of a call with what it cost its budgets; tell those, once it is written."""
    settled = charge.settled(amount, journal.me.id)
    done = journal.finish_call(*end, cost_usd=charge.cost_usd(amount), settled=settled)
    done.add_done_callback(lambda end: None if end.exception() else charge.tell(amount))
    return done


def told_of(error: BaseException) -> ErrorInfo:
    """The error of a call as its row keeps it."""
    cancelled = isinstance(error, asyncio.CancelledError)
    return ErrorInfo.of(StepCancelledError() if cancelled else error)
