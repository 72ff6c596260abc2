"""Tenants of agents.toml: what is one, and what the file says of one that is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agents.catalog.tenants import read_tenants
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
        ({"a\nb": {}}, "tenant: "),
        ({"x" * 65: {}}, "tenant: "),
    ],
)
def test_what_is_none(tables: Any, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        read_tenants(Path("f"), tables)
