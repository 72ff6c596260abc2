"""The tenants of agents.toml: ``[tenants.NAME]``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from celery_agents.contracts.base import mistakes, tenant_of
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
            found[tenant_of(name)] = TenantPolicy.model_validate(table)
        except InvalidPayloadError as error:
            raise ConfigurationError(f"{path}: [tenants.{name!r}] {error.message}") from None
        except ValidationError as error:
            place, why = mistakes(error, TenantPolicy)[0]
            where = "" if place == "payload" else f"{place}: "
            raise ConfigurationError(f"{path}: [tenants.{name}] {where}{why}") from None
    return found
