"""The tenants of agents.toml: ``[tenants.NAME]``."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, TypeVar

from agents.catalog.limits import read_policy
from celery_agents.contracts.base import tenant_of
from celery_agents.contracts.budgets import BudgetPolicy
from celery_agents.contracts.limits import LimitPolicy
from celery_agents.contracts.tenants import TenantPolicy
from celery_agents.errors import ConfigurationError, InvalidPayloadError

P = TypeVar("P", BudgetPolicy, LimitPolicy)


def read_tenants(path: Path, tables: Any) -> dict[str, TenantPolicy]:
    """The tenants of the file's tables.

    Raises:
        ConfigurationError: one is not right; it names the field.
    """
    if not isinstance(tables, dict):
        raise ConfigurationError(f"{path}: tenants have to be tables like [tenants.name].")
    found: dict[str, TenantPolicy] = {}
    for name, table in tables.items():
        try:
            tenant = tenant_of(name)
        except InvalidPayloadError as error:
            raise ConfigurationError(f"{path}: [tenants.{name!r}] {error.message}") from None
        found[tenant] = read_policy(path, f"tenants.{name}", table, TenantPolicy)
    return found


def own_policies(
    section: Literal["budgets", "limits"],
    policies: Mapping[str, P],
    tenants: Mapping[str, TenantPolicy],
) -> dict[str, dict[str, P]]:
    """The policies of tenants that have numbers of their own, by tenant and name.

    Raises:
        ConfigurationError: one is of nothing that each tenant has.
    """
    found: dict[str, dict[str, P]] = {}
    for tenant, of in tenants.items():
        for name, numbers in getattr(of, section).items():
            place = f"[tenants.{tenant}.{section}.{name}]"
            policy = policies.get(name)
            if policy is None:
                near = get_close_matches(name, sorted(policies), n=1)
                meant = f" Did you mean {near[0]!r}?" if near else ""
                raise ConfigurationError(f"{place} there is no [{section}.{name}].{meant}")
            if policy.per != "tenant":
                raise ConfigurationError(
                    f"{place} [{section}.{name}] is none that each tenant has: give it "
                    'per = "tenant".'
                )
            own = policy.model_copy(update=numbers.model_dump(exclude_none=True))
            found.setdefault(tenant, {})[name] = own
    return found
