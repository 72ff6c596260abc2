"""Agents of entries, as agents.toml has them, with backends of a test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agents.catalog.kinds import Made, all_kinds, entry_of
from agents.catalog.registry import Registered


def agent_of(
    name: str, backend: Callable[[], Any], effects: Any = None, table: dict[str, Any] | None = None
) -> Registered:
    """An agent of that table; of none it is a marked function."""
    if table is None:
        return Registered(name, "any", "", effects or "idempotent", backend)
    kinds = all_kinds()
    entry = entry_of(table, kinds)
    return Registered.of(name, entry, kinds[entry.kind], Made(backend, effects or entry.effects))
