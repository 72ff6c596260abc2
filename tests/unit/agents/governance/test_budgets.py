"""Accounts of requests, and what they cost by how they ended."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agents.governance.budgets import (
    Account,
    Accounts,
    Amount,
    accounts_of,
    covers,
    spent_after,
    wanted,
)
from agents.governance.wants import About
from agents.governance.windows import ENDLESS, Window
from agents.needs import Needs, Quote
from celery_agents.contracts.budgets import BudgetPolicy
from celery_agents.contracts.outcome import Usage
from celery_agents.errors import (
    AgentFailedError,
    ContextExceededError,
    DeadlineExceededError,
    ProviderRefusedError,
    ProviderUnavailableError,
    RateLimitedError,
)

ABOUT = About("gpt", "openai", "provider:openai", "openai#KEY", tenant="acme", run="r")


def quote(arrived: int = 0) -> Quote:
    """A hundred tokens for a nano-dollar each, and 2 for each of the answer's."""
    return Quote(100, 50, lambda out: 100 + 2 * out, lambda: arrived)


RESERVED = Amount(200, 150, 1)


@pytest.mark.parametrize(
    ("usage", "error", "arrived", "cost"),
    [
        (Usage(calls=1, input_tokens=90, output_tokens=5, cost_usd=1e-7), None, 5, (100, 95, 1)),
        (Usage(calls=1, cost_usd=None), None, 0, RESERVED),  # the server told no tokens
        (Usage(calls=1, input_tokens=9, output_tokens=1, cost_usd=None), None, 0, (200, 10, 1)),
        (None, None, 0, RESERVED),
        (Usage(), None, 0, RESERVED),  # code that says nothing
        (Usage(calls=1), None, 0, (0, 0, 1)),  # and code that says that it was free
        (Usage(calls=1, input_tokens=-5, cost_usd=-1.0), None, 0, (0, 0, 1)),
        (Usage(calls=1, cost_usd=1e300), None, 0, (9 * 10**15, 0, 1)),
        (None, RateLimitedError(), 0, (0, 0, 0)),
        (None, ProviderRefusedError(), 0, (0, 0, 0)),
        (None, ContextExceededError(), 0, (0, 0, 0)),
        (None, ProviderUnavailableError(), 0, (100, 100, 1)),
        (None, ProviderUnavailableError(), 7, (114, 107, 1)),
        (None, DeadlineExceededError(), 7, (114, 107, 1)),
        (None, asyncio.CancelledError(), 7, (114, 107, 1)),
        (Usage(), asyncio.CancelledError(), 0, (100, 100, 1)),
        (None, AgentFailedError(), 0, (100, 100, 1)),
    ],
)
def test_what_a_request_has_cost(
    usage: Usage | None, error: BaseException | None, arrived: int, cost: Any
) -> None:
    assert spent_after(quote(arrived), RESERVED, usage, error) == Amount(*cost)


def test_code_that_costs_the_same_however_it_ends() -> None:
    own = Quote.of(Needs(3, 0, 90))
    assert (own.nano_usd, own.tokens) == (90, 3)
    assert spent_after(own, Amount(90, 3, 1), None, asyncio.CancelledError()) == Amount(90, 3, 1)


def test_accounts_by_what_a_budget_is_per_and_by_its_window() -> None:
    policies = {
        "company": BudgetPolicy(usd=500, every="month", zone="Europe/Zurich"),
        "customer": BudgetPolicy(per="tenant", tokens=7, every=3600, over="wait"),
        "run": BudgetPolicy(per="run", calls=3, strict=True),
    }
    month, hour, run = accounts_of(policies, ABOUT, 1_790_000_000)
    assert (month.id, month.bounds, month.waits) == ("company", (500 * 10**9, None, None), False)
    assert month.key == f"company@{month.window.starts_at}"
    assert hour == Account(
        "customer", "acme", (None, 7, None), Window(1_789_999_200, 1_790_002_800), waits=True
    )
    assert (run.id, run.window, run.strict, run.run_id) == (":run:r", ENDLESS, True, "r")
    assert Account.of_run("step", {"usd": 0.25}, "r").id == ":step"


def test_what_accounts_say_together() -> None:
    policies = {
        "company": BudgetPolicy(usd=500),
        "customer": BudgetPolicy(per="tenant", tokens=7, every=3600),
        "run": BudgetPolicy(per="run", calls=3, strict=True),
    }
    company, customer, run = every = accounts_of(policies, ABOUT, 1_790_000_000)
    assert (every.strict, every.in_dollars) == (True, True)
    assert every.told == (3, *company.told, *customer.told, *run.told)
    assert every.bookings == (company.booking, customer.booking, run.booking)
    assert every.booked == (company.booking, customer.booking)  # a run's are summed of its calls
    assert every.wanting(Amount(1, 1, 1)) is every
    free = every.wanting(Amount(0, 0, 1))
    assert (free, free.told, free.in_dollars) == ((run,), (1, *run.told), False)
    assert (Accounts().strict, Accounts().told, Accounts().last(0.0)) == (False, (0,), True)


@pytest.mark.parametrize(
    ("now", "lasts"),
    [(1_789_999_199, False), (1_789_999_200, True), (1_790_002_799, True), (1_790_002_800, False)],
)
def test_accounts_last_as_long_as_all_of_their_windows(now: float, lasts: bool) -> None:
    policies = {
        "always": BudgetPolicy(calls=9),
        "hour": BudgetPolicy(calls=9, every=3600),
        "day": BudgetPolicy(calls=9, every="day"),
    }
    assert accounts_of(policies, ABOUT, 1_790_000_000).last(now) is lasts


def test_a_call_over_a_boundary_counts_once_where_it_began() -> None:
    policies = {"b": BudgetPolicy(usd=1, every="day", zone="Europe/Zurich")}
    midnight = 1_790_028_000  # 22 September 2026 in Zurich
    before, after = (accounts_of(policies, ABOUT, midnight + s)[0] for s in (-1, 0))
    assert before.window.ends_at == after.window.starts_at == midnight
    assert before.key != after.key


@pytest.mark.parametrize(
    ("bounds", "amount", "counts"),
    [
        ((1, None, None), Amount(0, 9, 1), False),  # what costs nothing needs no dollars
        ((0, None, None), Amount(1, 0, 1), True),
        ((None, 5, None), Amount(0, 9, 1), True),
        ((None, 5, None), Amount(9, 0, 1), False),
        ((None, None, 0), Amount(0, 0, 1), True),
    ],
)
def test_what_needs_an_account(bounds: Any, amount: Amount, counts: bool) -> None:
    assert wanted(Account("b", "", bounds), amount) is counts


def test_what_a_budget_counts() -> None:
    assert covers(BudgetPolicy(usd=1), ABOUT)
    assert covers(BudgetPolicy(usd=1, covers=("provider:openai",)), ABOUT)
    assert not covers(BudgetPolicy(usd=1, covers=("agent:other",)), ABOUT)
