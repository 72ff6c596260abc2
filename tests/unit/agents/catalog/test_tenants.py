"""Tenants of agents.toml: what is one, and what the file says of one that is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agents.catalog.tenants import own_policies, read_tenants
from celery_agents.contracts.budgets import BudgetPolicy
from celery_agents.contracts.limits import LimitPolicy
from celery_agents.contracts.tenants import TenantPolicy
from celery_agents.errors import ConfigurationError


def test_each_has_a_weight() -> None:
    found = read_tenants(Path("f"), {"acme": {"weight": 3}, "Ünï & Co": {}})
    assert found == {"acme": TenantPolicy(weight=3), "Ünï & Co": TenantPolicy(weight=1)}


@pytest.mark.parametrize(
    ("tables", "told"),
    [
        (7, "tables like"),
        ({"acme": {"weight": 0}}, r"\[tenants.acme\] weight: .*greater than 0"),
        ({"acme": {"weight": 1001}}, r"\[tenants.acme\] weight: "),
        ({"acme": {"wieght": 3}}, r"\[tenants.acme\] wieght"),
        ({"acme": {"budgets": {"b": {}}}}, r"\[tenants.acme\] budgets.b: .*bounds nothing"),
        ({"acme": {"budgets": {"b": {"usd": -1}}}}, r"\[tenants.acme\] budgets.b.usd: "),
        ({"acme": {"budgets": {"b": {"every": "day"}}}}, r"\[tenants.acme\] budgets.b.every"),
        ({"acme": {"limits": {"l": {"concurrent": 0}}}}, r"\[tenants.acme\] limits.l.concurrent: "),
        ({"acme": {"limits": {"l": {}}}}, r"\[tenants.acme\] limits.l: .*limits nothing"),
        ({"a\nb": {}}, "tenant: "),
        ({"x" * 65: {}}, "tenant: "),
    ],
)
def test_what_is_none(tables: Any, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        read_tenants(Path("f"), tables)


def test_its_own_numbers_stand_in_place_of_those_that_each_has() -> None:
    tenants = read_tenants(
        Path("f"),
        {
            "acme": {
                "budgets": {"customer": {"usd": 100}},
                "limits": {"slots": {"concurrent": 50}},
            },
            "globex": {"weight": 2},
        },
    )
    customer = BudgetPolicy(per="tenant", usd=20, calls=2_000, every="day", over="wait")
    budgets = own_policies("budgets", {"customer": customer}, tenants)
    assert budgets == {"acme": {"customer": customer.model_copy(update={"usd": 100.0})}}
    slots = LimitPolicy(per="tenant", concurrent=10, requests_per_minute=60)
    limits = own_policies("limits", {"slots": slots}, tenants)
    assert limits == {"acme": {"slots": slots.model_copy(update={"concurrent": 50})}}


@pytest.mark.parametrize(
    ("policies", "told"),
    [
        ({"customers": BudgetPolicy(per="tenant", usd=1)}, "there is no .*mean 'customers'"),
        ({}, r"\[tenants.acme.budgets.customer\] there is no \[budgets.customer\]\.$"),
        ({"customer": BudgetPolicy(usd=1)}, 'per = "tenant"'),
        ({"customer": BudgetPolicy(per="run", usd=1)}, 'per = "tenant"'),
    ],
)
def test_numbers_of_nothing_that_each_tenant_has(
    policies: dict[str, BudgetPolicy], told: str
) -> None:
    tenants = {"acme": TenantPolicy.model_validate({"budgets": {"customer": {"usd": 100}}})}
    with pytest.raises(ConfigurationError, match=told):
        own_policies("budgets", policies, tenants)
