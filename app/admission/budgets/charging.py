"""A turn's requests under the budgets that count its agent: reserved before, settled after."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Protocol

from agents.catalog.registry import Registered
from agents.governance.budgets import WARNED, Account, Accounts, Amount, spent_after
from agents.governance.estimate import price_unknown
from agents.needs import Expect, Quote, quote_of
from app.admission.budgets.shared import (
    LATE_S,
    Closed,
    Exceeded,
    Said,
    SharedBudgets,
    Unknown,
    name_of,
)
from app.admission.scripts import Query
from app.concurrency.fibers import arrival, in_thread
from app.concurrency.future import Future
from app.concurrency.loop import process_loop
from app.journal.steps.spending import CallKey, Reserved, Settled
from celery_agents.contracts.budgets import UNITS
from celery_agents.contracts.outcome import Usage
from celery_agents.errors import BudgetExceededError, NotAdmittedError

log = logging.getLogger(__name__)

#: Accounts are looked for so often before the step comes again: closed, copied, closed again.
_TRIES = 8
#: What calls under way have reserved may be free after so long.
SOON_S = 1.0


class Bounded(Protocol):
    """The bounds of a run and of the steps above, as far as guards count by them."""

    @property
    def budgeted(self) -> bool:
        """True when one of them is a budget."""
        ...

    def accounts(self) -> tuple[Account, ...]:
        """The accounts of those. Blocks for a look into the journal."""
        ...


class Paying(Protocol):
    """The step whose requests are counted."""

    @property
    def run_id(self) -> str:
        """The run that it is of."""
        ...

    @property
    def tenant(self) -> str:
        """The name of those whose run it is."""
        ...

    @property
    def allowance(self) -> Bounded | None:
        """The bounds of its run and of the steps above, where there are some."""
        ...

    async def note(self, kind: str, data: Sequence[dict[str, str]]) -> None:
        """Write events of it."""
        ...


class Charge:
    """One request that was reserved, and is told of what it cost."""

    def __init__(
        self,
        budgets: SharedBudgets,
        step: Paying,
        key: CallKey,
        accounts: Accounts,
        quote: Quote,
        *,
        amount: Amount,
    ) -> None:
        self.amount = amount
        self._budgets = budgets
        self._step = step
        self._who = name_of(key)
        self._accounts = accounts
        self._quote = quote
        self._since = time.monotonic()
        self._asked = self._reserved = self._written = False

    def asking(self) -> Query:
        """The question whether it may be reserved, to be asked together with others."""
        self._asked, self._since = True, time.monotonic()
        return self._budgets.asking(self._who, self._accounts, self.amount)

    async def reserve(self) -> None:
        """Reserve it in all accounts, where that was not asked with something else.

        Raises:
            BudgetExceededError, NotAdmittedError: see :meth:`answered`.
        """
        if not self._reserved:
            await self.answered(await self._ask())

    async def answered(self, said: Said) -> None:
        """Take the answer, and ask again where it is none yet.

        Raises:
            BudgetExceededError: an account is spent.
            NotAdmittedError: it is to come again: in the next window, when others have ended, or
                when Redis is back.
        """
        for _ in range(_TRIES):
            match said:
                case Closed(seconds, away=True):
                    raise _later("waits for budgets: Redis is away", seconds)
                case Closed(seconds):
                    await asyncio.sleep(seconds)
                case Unknown(copies):
                    await self._seed(copies)
                case Exceeded() as spent:
                    self._asked = False  # nothing is reserved
                    raise self._refusal(spent)
                case None:
                    self._reserved = True
                    return
            said = await self._ask()
        raise _later("waits for budgets: Redis begins anew again and again", SOON_S)

    @property
    def reserved(self) -> Reserved:
        """The part of its row that says so."""
        return Reserved(self.amount, self._accounts.bookings)

    def row_follows(self) -> None:
        """Note that there may be a row soon, whose end settles it."""
        self._written = True

    async def written(self) -> None:
        """Note that its row is committed; one that was late is looked at again.

        Raises:
            BudgetExceededError, NotAdmittedError: its reservation was lost meanwhile, and others
                have taken its place.
        """
        self._written = True
        if time.monotonic() - self._since > LATE_S:
            await self.answered(await self._ask())

    def after(self, usage: Usage | None, error: BaseException | None) -> Amount:
        """The amount that it has cost."""
        return spent_after(self._quote, self.amount, usage, error)

    def settled(self, amount: Amount, writer: str) -> Settled:
        """The part of its row's end that says that."""
        return Settled(amount, self._accounts.booked, writer)

    def cost_usd(self, amount: Amount) -> float | None:
        """Dollars of an amount; None: nobody knows the price."""
        return None if self._quote.cost is None else amount.nano_usd / 10**9

    def tell(self, amount: Amount) -> None:
        """Tell the others what it cost, once the journal has it."""
        told = self._budgets.tell(self._who, self._accounts, amount)
        told.add_done_callback(self._warn)

    def close(self) -> None:
        """Give back what was reserved for a request of which there is no row.

        What is still being asked is answered before.
        """
        if self._asked and not self._written:
            self._budgets.tell(self._who, self._accounts, Amount())

    async def _ask(self) -> Said:
        said: Said = await arrival(self._budgets.run(self.asking()))
        return said

    async def _seed(self, copies: Sequence[tuple[int, str]]) -> None:
        for place, of in copies:
            await arrival(await in_thread(self._budgets.seed, self._accounts[place], of))

    def _refusal(self, spent: Exceeded) -> BudgetExceededError | NotAdmittedError:
        account, unit = self._accounts[spent.place], UNITS[spent.unit]
        bound = account.bounds[spent.unit] or 0
        shown = [_shown(n, unit) for n in (self.amount[spent.unit], bound, spent.spent)]
        text = "budget {}: {} of {} {} are spent, {} reserved, and {} are asked for"
        held = _shown(spent.reserved, unit)
        told = text.format(account.name, shown[2], shown[1], unit, held, shown[0])
        details = {"budget": account.name, "unit": unit, "spent": shown[2], "bound": shown[1]}
        if not spent.for_good:
            return _later(f"waits for {told}", SOON_S, **details)
        ends_at = account.window.ends_at
        if not account.waits or ends_at is None:
            error = BudgetExceededError(f"The call was not made, by {told}.", details)
            error.details["reserved"] = held
            return error
        at = datetime.fromtimestamp(ends_at, UTC).isoformat()
        return _later(f"waits for {told}, until {at}", ends_at - self._budgets.now(), **details)

    def _warn(self, told: Future[list[int]]) -> None:
        if told.exception() is not None:
            return
        for place in told.result():
            name = self._accounts[place].name
            log.warning("Of budget %s %.0f %% are spent", name, 100 * WARNED)
            data = {"budget": name, "share": str(WARNED)}
            process_loop().submit(self._step.note("budget_warning", [data]))


class Purse:
    """The accounts of an agent's requests in one step."""

    def __init__(self, budgets: SharedBudgets, agent: Registered, step: Paying) -> None:
        self._budgets = budgets
        self._agent = agent
        self._step = step

    async def charge(self, expect: Expect, key: CallKey) -> Charge | None:
        """The charge for what a request may cost, to be reserved; None: no account bounds that.

        Raises:
            PriceUnknownError: dollars are bounded, and nobody knows its price.
        """
        accounts = await self._accounts()
        quote = await quote_of(expect, worst=accounts.strict)
        if quote.cost is None and accounts.in_dollars:
            raise price_unknown(self._agent.name, quote.who, quote.priced_by)
        amount = Amount(quote.nano_usd or 0, quote.tokens, 1)
        counted = accounts.wanting(amount)
        if not counted:
            return None
        return Charge(self._budgets, self._step, key, counted, quote, amount=amount)

    async def _accounts(self) -> Accounts:
        budgets, step = self._budgets, self._step
        if not budgets.knows_time:
            await in_thread(budgets.now)
        found = budgets.accounts(self._agent, step.tenant, step.run_id)
        if (allowance := step.allowance) is not None and allowance.budgeted:
            return Accounts((*found, *await in_thread(allowance.accounts)))
        return found


def _later(text: str, after_s: float, **details: str) -> NotAdmittedError:
    return NotAdmittedError(text, {**details, "retry_after_s": round(max(after_s, 0.1), 3)})


def _shown(number: int, unit: str) -> str:
    return f"{number / 10**9:.9g}" if unit == "usd" else str(number)
