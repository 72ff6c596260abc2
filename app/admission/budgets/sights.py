"""Budgets as people see them: how they stand, and releasing what is in doubt. By the journal."""

from __future__ import annotations

from collections.abc import Iterable

from agents.governance.budgets import Amount
from agents.governance.windows import Window, window
from app.admission.budgets.shared import SharedBudgets
from app.journal.steps.spending import RUN, AccountState
from celery_agents.contracts.budgets import BudgetPolicy, BudgetState, Spent
from celery_agents.errors import InvalidPayloadError


def states(budgets: SharedBudgets | None, tenant: str | None = None) -> list[BudgetState]:
    """How each budget stands in its present window. Blocks for a look into the journal."""
    if budgets is None or not budgets.policies:
        return []
    now = budgets.now()
    windows = {n: window(now, p.every, p.zone) for n, p in budgets.policies.items()}
    found = budgets.ledger.together([(n, of.starts_at) for n, of in windows.items()])
    shown = []
    for place in sorted({*found}):
        name, _, subject = place[0].removeprefix(RUN).partition(":")
        policy = budgets.policies.get(name)
        if policy is None or windows[name].starts_at != place[1]:
            continue
        if policy.per is not None and not _used(found[place]):  # it is of nobody
            continue
        if policy.per == "tenant" and tenant not in (None, subject):
            continue
        own = budgets.covering.one(name, subject) if policy.per == "tenant" else policy
        shown.append(_state(name, own, subject, windows[name], found[place]))
    return shown


def release(budgets: SharedBudgets | None, name: str, subject: str | None) -> Spent:
    """Release what calls in doubt have reserved in a budget; the sum. Blocks.

    Raises:
        InvalidPayloadError: there is no such budget.
    """
    if budgets is None or name not in budgets.policies:
        known = [] if budgets is None else sorted(budgets.policies)
        listed = ", ".join(known) or "none at all"
        raise InvalidPayloadError(f"There is no budget {name!r}. There are: {listed}.")
    return _spent(one.amount for one in budgets.ledger.release(name, subject))


def _used(state: AccountState) -> bool:
    return bool(state.holdings or any(state.spent))


def _state(
    name: str, policy: BudgetPolicy, subject: str, of: Window, found: AccountState
) -> BudgetState:
    return BudgetState(
        name=name,
        policy=policy,
        subject=subject,
        starts_at=None if of.ends_at is None else float(of.starts_at),
        ends_at=None if of.ends_at is None else float(of.ends_at),
        spent=_spent([found.spent]),
        reserved=_spent(h.amount for h in found.holdings if not h.doubtful),
        in_doubt=_spent(h.amount for h in found.holdings if h.doubtful),
    )


def _spent(amounts: Iterable[Amount]) -> Spent:
    return Spent(**sum(amounts, Amount())._asdict())
