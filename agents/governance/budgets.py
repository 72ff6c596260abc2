"""Budgets: which accounts a request is booked in, and what it has cost however it ended."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Self

from agents.governance.rates import NANO
from agents.governance.wants import About
from agents.governance.windows import ENDLESS, Window, window
from agents.needs import Quote
from celery_agents.contracts.budgets import UNITS, BudgetPolicy
from celery_agents.contracts.outcome import Usage
from celery_agents.errors import (
    ConfigurationError,
    ContextExceededError,
    InvalidPayloadError,
    ProviderRefusedError,
    RateLimitedError,
)

#: The share of a budget at which people are warned.
WARNED = 0.8
#: Sums are exact in Redis up to this.
_MOST = 9 * 10**15
#: Nobody has said what it cost; and a request that ended so was not read: it cost nothing.
_UNSAID = dict(Usage().__dict__)
_UNREAD = (
    RateLimitedError,
    ProviderRefusedError,
    ContextExceededError,
    InvalidPayloadError,
    ConfigurationError,
)


class Amount(NamedTuple):
    """Amounts of the units that budgets have."""

    nano_usd: int = 0
    tokens: int = 0
    calls: int = 0

    def __add__(self, other: tuple[int, ...]) -> Amount:  # type: ignore[override]  # no longer one
        return Amount(*(a + b for a, b in zip(self, other, strict=True)))


#: The bounds of an account, as an amount; None: none of that unit.
Bounds = tuple[int | None, int | None, int | None]


@dataclass(frozen=True)
class Account:
    """One budget of one of those that have it, in one window."""

    budget: str  # its name; "" is that of a run's own
    subject: str
    bounds: Bounds
    window: Window = ENDLESS
    waits: bool = False  # who finds it spent waits for the next window
    strict: bool = False
    run_id: str | None = None  # it is of one run alone, whose calls are all that is in it

    @cached_property
    def id(self) -> str:
        """Its name in the journal; one that is of one run alone begins with a colon."""
        name = f"{self.budget}:{self.subject}" if self.subject else self.budget
        return name if self.run_id is None else f":{name.lstrip(':')}"

    @cached_property
    def booking(self) -> tuple[str, int, int | None]:
        """Its name with its window, in the journal."""
        return (self.id, self.window.starts_at, self.window.ends_at)

    @cached_property
    def key(self) -> str:
        """Its name with its window, in Redis."""
        return f"{self.id}@{self.window.starts_at}"

    @cached_property
    def told(self) -> tuple[str | int, ...]:
        """That and its bounds, as Redis is told; -1: none."""
        return (self.key, *(-1 if bound is None else bound for bound in self.bounds))

    @property
    def name(self) -> str:
        """Its name for people."""
        if not self.budget:
            return "of its run"
        return f"{self.budget} of {self.subject}" if self.subject else self.budget

    @classmethod
    def of_run(cls, step_id: str, bounds: Mapping[str, float], run_id: str) -> Self:
        """The account of all that hangs below a step, with the bounds of its option."""
        return cls("", step_id, _bounds(bounds), run_id=run_id)


class Accounts(tuple[Account, ...]):  # noqa: SLOT001 - what is made of it is kept in it
    """The accounts of a request, with what is asked of all of them for each one."""

    @cached_property
    def strict(self) -> bool:
        """True when one of them wants the worst case reserved."""
        return any(account.strict for account in self)

    @cached_property
    def in_dollars(self) -> bool:
        """True when one of them bounds dollars."""
        return any(account.bounds[0] is not None for account in self)

    @cached_property
    def told(self) -> tuple[str | int, ...]:
        """The words by which Redis is told of them, and first how many they are."""
        return (len(self), *(word for account in self for word in account.told))

    @cached_property
    def bookings(self) -> tuple[tuple[str, int, int | None], ...]:
        """Their names and windows in the journal."""
        return tuple(account.booking for account in self)

    @cached_property
    def booked(self) -> tuple[tuple[str, int, int | None], ...]:
        """The bookings of those that have sums of their own."""
        return tuple(account.booking for account in self if account.run_id is None)

    @cached_property
    def _lasts(self) -> tuple[int, float]:
        ends = [account.window.ends_at for account in self]
        begun = max((account.window.starts_at for account in self), default=0)
        return begun, min((end for end in ends if end is not None), default=math.inf)

    def last(self, now: float) -> bool:
        """Return whether all of their windows have this moment."""
        begun, over = self._lasts
        return begun <= now < over

    @cached_property
    def _wanting(self) -> dict[tuple[bool, ...], Accounts]:
        return {}

    def wanting(self, amount: Amount) -> Accounts:
        """Those that have a bound of something that is asked for."""
        nano_usd, tokens, calls = amount
        units = (nano_usd > 0, tokens > 0, calls > 0)
        known = self._wanting.get(units)
        if known is None:
            found = Accounts(account for account in self if wanted(account, amount))
            known = self._wanting[units] = self if len(found) == len(self) else found
        return known


def accounts_of(policies: Mapping[str, BudgetPolicy], about: About, now: float) -> Accounts:
    """The accounts in which a request is booked that begins now, in seconds since 1970."""
    return Accounts(_account(name, policy, about, now) for name, policy in policies.items())


def covers(policy: BudgetPolicy, about: About) -> bool:
    """Return whether a budget counts an agent; one that names nothing counts all."""
    return not policy.covers or any(place in policy.covers for place in about.places)


def wanted(account: Account, amount: Amount) -> bool:
    """Return whether an account has a bound of something that is asked for.

    What costs nothing needs no dollars: a spent budget does not stop a model of one's own.
    """
    for bound, asked in zip(account.bounds, amount, strict=True):
        if bound is not None and asked > 0:
            return True
    return False


def spent_after(
    quote: Quote, reserved: Amount, usage: Usage | None, error: BaseException | None
) -> Amount:
    """The cost of a request: as its provider counts, else by how it ended.

    Of one that was cut off, or broke off, the input counts and what came back until then. One that
    was refused before anybody read it has cost nothing.
    """
    if usage is not None and usage.__dict__ != _UNSAID:  # models are compared ten times as slowly
        return _counted(reserved, usage)
    if isinstance(error, _UNREAD):
        return Amount()
    if error is None or quote.cost is None:
        return reserved
    output = quote.arrived()
    return Amount(quote.cost(output), quote.input_tokens + output, 1)


def nano_usd_of(usd: float) -> int:
    """Billionths of a dollar; dollars that were made of such are exact."""
    return round(usd * NANO)


def _counted(reserved: Amount, usage: Usage) -> Amount:
    """The amount that somebody told, who may have told anything: no sum gets smaller by it."""
    tokens = _bounded(usage.input_tokens + usage.output_tokens)
    if usage.cost_usd is not None:
        return Amount(_bounded(nano_usd_of(min(usage.cost_usd, _MOST / NANO))), tokens, 1)
    return Amount(reserved.nano_usd, tokens or reserved.tokens, 1)


def _bounded(number: int) -> int:
    return min(max(number, 0), _MOST)


def _account(name: str, policy: BudgetPolicy, about: About, now: float) -> Account:
    subject = {"tenant": about.tenant, "agent": about.agent, "run": about.run, None: ""}
    given = {unit: value for unit in UNITS if (value := getattr(policy, unit)) is not None}
    return Account(
        name,
        subject[policy.per],
        _bounds(given),
        window(now, policy.every, policy.zone),
        waits=policy.over == "wait",
        strict=policy.strict,
        run_id=about.run if policy.per == "run" else None,
    )


def _bounds(given: Mapping[str, float]) -> Bounds:
    usd, tokens, calls = (given.get(unit) for unit in UNITS)
    return (
        None if usd is None else nano_usd_of(usd),
        None if tokens is None else int(tokens),
        None if calls is None else int(calls),
    )
