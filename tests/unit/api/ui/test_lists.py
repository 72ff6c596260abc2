"""Lists of the page: how much of a budget is used, and findings that nobody has made anew."""

from __future__ import annotations

from typing import Any

import pytest

from api.ui.lists import budgets, targets
from celery_agents.contracts.budgets import BudgetPolicy, BudgetState, Spent


def shown(policy: dict[str, Any], **amounts: Spent) -> str:
    made = BudgetPolicy.model_validate(policy)
    return str(budgets([BudgetState(name="company", policy=made, **amounts)]))


@pytest.mark.parametrize(
    ("policy", "amounts", "used", "words"),
    [
        ({"calls": 1}, {"spent": Spent(calls=1)}, "100%", "1 calls"),
        ({"tokens": 1000}, {"spent": Spent(tokens=250)}, "25%", "250 tokens"),
        ({"usd": 2.0}, {"spent": Spent(nano_usd=10**9)}, "50%", "$1.00"),
        ({"usd": 2.0, "calls": 4}, {"reserved": Spent(nano_usd=1, calls=3)}, "75%", "3 calls"),
        ({"calls": 10}, {"spent": Spent(calls=4), "in_doubt": Spent(calls=4)}, "80%", "4 calls"),
        ({"calls": 2}, {"spent": Spent(calls=3)}, "150%", "3 calls"),
        ({"calls": 2}, {}, "0%", "—"),
    ],
)
def test_what_is_used_of_a_budget(
    policy: dict[str, Any], amounts: dict[str, Spent], used: str, words: str
) -> None:
    html = shown(policy, **amounts)
    assert f"{used} used" in html
    assert words in html
    assert ("spent</b>" in html) is (used in {"100%", "150%"})


@pytest.mark.parametrize(("age_s", "state"), [(44.0, "healthy"), (46.0, "stale")])
def test_an_old_finding_says_nothing_any_more(age_s: float, state: str) -> None:
    row = {"target": "journal", "state": "healthy", "lasts_s": 900.0, "latency_ms": 1.0}
    html = str(targets([{**row, "age_s": age_s, "message": None}], 15.0))
    assert f"s-{state}" in html
