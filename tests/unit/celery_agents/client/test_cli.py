"""Lines that people read: budgets by the calendar of their zone."""

from __future__ import annotations

import pytest

from celery_agents.client.cli import _budget_line
from celery_agents.contracts.budgets import BudgetPolicy, BudgetState, Spent


@pytest.mark.parametrize(
    ("zone", "ends"),
    [
        ("UTC", "2026-11-30 23:00:00 UTC"),
        ("Europe/Zurich", "2026-12-01 00:00:00 Europe/Zurich"),
    ],
)
def test_a_budget_ends_by_the_clock_of_its_zone(zone: str, ends: str) -> None:
    nothing = Spent()
    state = BudgetState(
        name="company",
        policy=BudgetPolicy(usd=500, every="month", zone=zone),
        ends_at=1_796_079_600,
        spent=nothing,
        reserved=nothing,
        in_doubt=nothing,
    )
    assert _budget_line(state).endswith(f"of 500 usd  until {ends}")
