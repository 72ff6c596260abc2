"""Budgets as they are written: what they refuse, and what they are among the bounds of a run."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from celery_agents.contracts.ask import Ask
from celery_agents.contracts.budgets import BudgetPolicy, RunBudget, Spent, budget_of


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({}, "it bounds nothing"),
        ({"usd": -1}, "greater than or equal to 0"),
        ({"usd": 1_000_001}, "less than or equal to 1000000"),
        ({"usd": 1, "zone": "Europe/Zürich"}, "is no time zone"),
        ({"usd": 1, "zone": "../UTC"}, "is no time zone"),
        ({"usd": 1, "zone": ""}, "is no time zone"),
        ({"usd": 1, "every": "year"}, "every"),
        ({"usd": 1, "every": 0}, "every"),
        ({"usd": 1, "over": "wait"}, "waits for the next window"),
        ({"usd": 1, "per": "run", "every": "day"}, "a run has no windows"),
        ({"usd": 1, "covers": ["gpt"]}, "none of provider"),
        ({"usd": 1, "calls": True}, "calls"),
    ],
)
def test_a_budget_that_is_none(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        BudgetPolicy.model_validate(fields)


def test_nothing_at_all_is_a_bound_too() -> None:
    assert BudgetPolicy(usd=0, every=90).usd == 0
    assert RunBudget(calls=0).bounds == {"budget.calls": 0}
    with pytest.raises(ValidationError, match="it bounds nothing"):
        RunBudget()


def test_a_run_s_budget_is_among_its_bounds() -> None:
    ask = Ask.from_message(["?"], {"agent": "a", "budget": {"usd": 0.2}, "max_steps": 3})
    assert ask.caps == {"max_steps": 3, "budget.usd": 0.2}
    assert budget_of({"max_steps": 3, "budget.usd": 0.2}) == {"usd": 0.2}
    assert ask.message_options()["budget"] == {"usd": 0.2}


def test_dollars_of_an_amount() -> None:
    assert Spent(nano_usd=250_000_000).usd == 0.25
