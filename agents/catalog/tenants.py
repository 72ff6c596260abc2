"""The tenants of agents.toml: ``[tenants.NAME]``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from agents.catalog.limits import read_policy
from celery_agents.contracts.base import tenant_of
from celery_agents.contracts.tenants import TenantPolicy
from celery_agents.errors import ConfigurationError, InvalidPayloadError


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
