"""The accounts of an agent's requests: remembered as long as their windows last, and no longer."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from app.admission.budgets import shared
from app.admission.budgets.shared import SharedBudgets
from celery_agents.contracts.budgets import BudgetPolicy
from tests.support.entries import agent_of

DAY_S = 86_400
AGENT = agent_of("gpt", lambda: None)
POLICIES = {"each": BudgetPolicy(calls=9, every="day", per="tenant"), "all": BudgetPolicy(calls=99)}


class Clocked(SharedBudgets):
    """Budgets of which the test says the time."""

    at = 0.0

    def now(self) -> float:
        return self.at


def budgets(policies: dict[str, BudgetPolicy]) -> Clocked:
    return Clocked(cast("Any", SimpleNamespace()), policies, cast("Any", None), lease_s=7)


def test_accounts_are_remembered_within_a_window() -> None:
    of = budgets(POLICIES)
    first = of.accounts(AGENT, "acme", "r1")
    assert [a.key for a in first] == ["each:acme@0", "all@0"]
    assert of.accounts(AGENT, "acme", "r2") is first
    assert of.accounts(AGENT, "other", "r2")[0].key == "each:other@0"
    of.at = DAY_S
    assert of.accounts(AGENT, "acme", "r3")[0].key == f"each:acme@{DAY_S}"
    of.at = DAY_S - 1  # whoever is behind books in the window of its own clock
    assert of.accounts(AGENT, "acme", "r4") == first


def test_an_agent_that_is_made_anew_of_another_kind_is_counted_as_that() -> None:
    """Over the API, under the same name; its process has asked it before."""
    of = budgets({"models": BudgetPolicy(calls=9, covers=("kind:openai",))})
    http, model = (replace(AGENT, kind=kind) for kind in ("http", "openai"))
    for agent, keys in ((http, []), (model, ["models@0"]), (http, [])):
        assert [account.key for account in of.accounts(agent, "acme", "r")] == keys
        assert [*of.of(agent)] == ["models"][: len(keys)]


def test_a_run_has_its_own() -> None:
    of = budgets({"one": BudgetPolicy(calls=9, per="run")})
    runs = {run: of.accounts(AGENT, "acme", run)[0] for run in ("r1", "r2")}
    assert {run: account.subject for run, account in runs.items()} == {"r1": "r1", "r2": "r2"}


def test_not_too_many_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "KNOWN", 2)
    of = budgets(POLICIES)
    first = of.accounts(AGENT, "a", "r")
    for tenant in ("b", "c"):
        of.accounts(AGENT, tenant, "r")
    assert of.accounts(AGENT, "a", "r") is not first
