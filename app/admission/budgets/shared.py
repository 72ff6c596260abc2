"""Budgets in Redis, shared by all workers: a quick copy of what the journal says.

What is reserved here before a call stands in the call's row too, which is committed before it is
made; what it cost is booked in the row's end, and told here after that. So Redis never says that
more was spent than the journal does, and what it was not told is found by its rows. The scripts
stand in ``lua.py``. While Redis is away nothing is reserved: steps wait.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from agents.catalog.registry import Registered
from agents.governance.budgets import Account, Accounts, Amount, accounts_of, covers
from app.admission.budgets.lua import COMMON, LOST, SCRIPTS
from app.admission.covering import CoveringPolicies, about_of
from app.admission.scripts import CLOCK, TRY_AGAIN_S, OwnWords, Query, Scripts
from app.concurrency.future import Future
from app.journal.steps.spending import AccountState, CallKey, Holding
from app.journal.stores.ledger import Ledger
from celery_agents.contracts.budgets import BudgetPolicy

#: A reservation whose row is committed later than that is looked at again: see ``CLOSED_MS``.
LATE_S = 1.0
#: Accounts are remembered of so many agents and tenants.
KNOWN = 1_000
#: Our idea of the database's clock is renewed after so long.
CLOCK_S = 30.0
#: Reservations that nobody has settled for so long are looked up in the journal, those of an
#: account once a lease: most are of calls that are under way.
LOOK_MS = 2_000
#: Reservations of one script: Lua hands no function more words than some thousands.
_AT_ONCE = 1_000
_CLOSED = ("budgets", "Without Redis budgets are closed")


@dataclass(frozen=True, slots=True)
class Closed:
    """Accounts are closed for a moment, or Redis is away."""

    seconds: float
    away: bool = False


@dataclass(frozen=True, slots=True)
class Unknown:
    """Redis has no copy of these accounts: their places, and what a copy has to be of."""

    copies: tuple[tuple[int, str], ...]


@dataclass(frozen=True, slots=True)
class Exceeded:
    """An account has no room, for good or until what is under way has ended."""

    place: int
    unit: int
    for_good: bool
    spent: int
    reserved: int


#: The answer to who wants to reserve something; None: it is reserved.
Said = Closed | Unknown | Exceeded | None


class SharedBudgets:
    """The budgets of one process.

    Args:
        shared: the scripts of the Redis that has the copies.
        policies: by name.
        ledger: the journal's accounts.
        lease_s: who has not written its row after so long is dead.
        own: of tenants that have numbers of their own, by tenant and name.
    """

    def __init__(
        self,
        shared: Scripts,
        policies: Mapping[str, BudgetPolicy],
        ledger: Ledger,
        *,
        lease_s: float,
        own: Mapping[str, Mapping[str, BudgetPolicy]] | None = None,
        clock: str = CLOCK,
    ) -> None:
        self._common = clock + COMMON
        self.policies = dict(policies)
        self.covering = CoveringPolicies(self.policies, covers, own)
        self.of = self.covering.of  # the budgets that count an agent, by name
        self.ledger = ledger
        self._scripts = shared
        self._lease_ms = round(2 * lease_s * 1000)
        self._lock = threading.Lock()
        self._clock: tuple[float, float] | None = None
        #: Those of an agent and a tenant, where none is of one run alone.
        self._accounts: dict[tuple[str, str, str], Accounts] = {}
        #: Whether something was reserved here, or may be.
        self.used = bool(policies)

    def now(self) -> float:
        """The database's clock. May block for a look at it."""
        here, known = time.monotonic(), self._clock
        if known is None or here - known[1] > CLOCK_S:
            told = self.ledger.now()
            here = time.monotonic()
            self._clock = known = (told, here)
        return known[0] + here - known[1]

    def accounts(self, agent: Registered, tenant: str, run_id: str) -> Accounts:
        """The accounts of a request that begins now. May block as :meth:`now` does."""
        now, key = self.now(), (agent.name, agent.kind, tenant)
        known = self._accounts.get(key)
        if known is None or not known.last(now):
            about = replace(about_of(agent), tenant=tenant, run=run_id)
            known = accounts_of(self.of(agent, tenant), about, now)
            if all(a.run_id is None for a in known):
                if len(self._accounts) >= KNOWN:
                    self._accounts.clear()
                self._accounts[key] = known
        return known

    @property
    def knows_time(self) -> bool:
        """True when :meth:`now` does not block."""
        return self._clock is not None and time.monotonic() - self._clock[1] <= CLOCK_S

    # -- reserving and settling

    def run(self, question: Query) -> Future[Any]:
        """Ask one thing."""
        return self._scripts.run(question)

    def ask(self, who: str, accounts: Sequence[Account], amount: Amount) -> Future[Said]:
        """Reserve an amount in all of these accounts, or in none. Again, it is the same one."""
        return self.run(self.asking(who, Accounts(accounts), amount))

    def asking(self, who: str, accounts: Accounts, amount: Amount) -> Query:
        """The question of ``ask``, to be asked together with breakers and limits."""
        self.used = True
        return self._query("ASK", accounts.told, _said, _is_away, OwnWords(who, (who, *amount)))

    def seed(self, account: Account, of: str) -> Future[Any]:
        """Copy an account from the journal, unless somebody did meanwhile. Blocks for reading."""
        place = (account.id, account.window.starts_at)
        found = self.ledger.standing(place, account.run_id)
        return self._run("SEED", (of, account.key, *_copy(found)), bool, lambda: False)

    def tell(self, who: str, accounts: Accounts, spent: Amount) -> Future[list[int]]:
        """Settle a reservation; the places of accounts of which people are to be warned now."""
        own = OwnWords(who, (who, *spent), first=True)
        return self._run("TELL", accounts.told, _places, list, own)

    # -- mending

    def reconcile(self) -> int:
        """Settle by the journal what Redis was not told of; how many there were. Blocks."""
        if not self.used:
            return 0
        keys = self._run("KEYS_HELD", (self._lease_ms // 2,), list, list).result()
        return sum(self._reconcile(key.decode()) for key in keys)

    def _reconcile(self, key: str) -> int:
        holds = self._run("HOLDS", (key, LOOK_MS), list, list).result()
        ages = {held[0].decode(): (int(held[1]), held[2] == b"1") for held in holds}
        fates = self.ledger.fates([_key_of(who) for who in ages])
        doubtful, settled = [], 0
        for who, (age_ms, known) in ages.items():
            match fates.get(_key_of(who)):
                case Amount() as spent:
                    settled += 1
                    own = OwnWords(who, (who, *spent), first=True)
                    self._run("TELL", (1, key, -1, -1, -1), list, list, own)
                case Holding(doubtful=True) if not known:
                    doubtful.append(who)
                case None if not 0 <= age_ms <= self._lease_ms:
                    # Its owner died before its row was written, or the row is deleted: what has
                    # become of it stands in the journal's sums.
                    self._run("FORGET", (key,), bool, bool)
                    return settled + 1
                case _:
                    pass
        self.doubt(key, doubtful)
        return settled

    def doubt(self, key: str, reservations: Sequence[str]) -> None:
        """Note that reservations of an account are in doubt. Blocks."""
        for start in range(0, len(reservations), _AT_ONCE):
            some = reservations[start : start + _AT_ONCE]
            self._run("DOUBT", (key, *some), bool, bool).result()

    def _run(
        self,
        name: str,
        told: tuple[Any, ...],
        read: Callable[[Any], Any],
        otherwise: Callable[[], Any],
        own: OwnWords | None = None,
    ) -> Future[Any]:
        return self.run(self._query(name, told, read, otherwise, own))

    def _query(
        self,
        name: str,
        told: tuple[Any, ...],
        read: Callable[[Any], Any],
        otherwise: Callable[[], Any],
        own: OwnWords | None = None,
    ) -> Query:
        return Query((self._names[name], 0, *told), read, otherwise, _CLOSED, own)

    @cached_property
    def _names(self) -> dict[str, str]:
        with self._lock:
            self._scripts.begin(self._common + LOST)
            return {
                name: self._scripts.register(self._common + text) for name, text in SCRIPTS.items()
            }


def _key_of(who: str) -> CallKey:
    step_id, seq, token = who.rsplit("/", 2)
    return step_id, int(seq), int(token)


def name_of(key: CallKey) -> str:
    """A call, as Redis knows its reservation."""
    step_id, seq, token = key
    return f"{step_id}/{seq}/{token}"


_AWAY = Closed(TRY_AGAIN_S, away=True)


def _is_away() -> Said:
    return _AWAY


def _places(found: Any) -> list[int]:
    return [place - 1 for place in found]


def _said(found: Any) -> Said:
    match found:
        case [b"yes"]:
            return None
        case [b"closed", ms]:
            return Closed(int(ms) / 1000)
        case [b"unknown", *told]:
            pairs = zip(told[::2], told[1::2], strict=True)
            return Unknown(tuple((place - 1, of.decode()) for place, of in pairs))
        case [b"spent", place, unit, for_good, spent, held]:
            return Exceeded(place - 1, unit - 1, bool(for_good), int(spent), int(held))
    raise ValueError(found)


def _copy(found: AccountState) -> list[Any]:
    held = [word for h in found.holdings for word in (name_of(h.key), *h.amount, int(h.doubtful))]
    return [*found.spent, *held]
