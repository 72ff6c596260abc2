"""Keys of the API, for whoever makes them and for whoever checks them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Engine

from app.journal.schema.engine import reading
from app.journal.schema.transactions import in_transaction
from app.journal.tables import keys


class ApiKeys:
    """The keys of one journal."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def add(self, row: dict[str, Any], lasts_s: float | None) -> None:
        """Write down a new key, which ends after so many seconds."""
        in_transaction(self._engine, lambda c: keys.add(c, row, lasts_s))

    def find(self, key_id: str) -> dict[str, Any] | None:
        """The key of that id, where it holds."""
        return in_transaction(reading(self._engine), lambda c: keys.find(c, key_id))

    def listed(self, tenant: str | None) -> list[dict[str, Any]]:
        """Keys of a tenant, or of all, the newest first."""
        return in_transaction(reading(self._engine), lambda c: keys.listed(c, tenant))

    def revoke(
        self, key_id: str, tenant: str | None = None, *, after_s: float = 0.0
    ) -> dict[str, Any] | None:
        """End a key, now or after so many seconds; None when there is none of that id."""
        return in_transaction(self._engine, lambda c: keys.revoke(c, key_id, tenant, after_s))

    def replace(
        self, key_id: str, row: dict[str, Any], *, after_s: float, lasts_s: float | None
    ) -> bool:
        """Write down a key in place of one that ends after so many seconds; False: none holds."""

        def work(connection: Connection) -> bool:
            if keys.revoke(connection, key_id, None, after_s) is None:
                return False
            keys.add(connection, row, lasts_s)
            return True

        return in_transaction(self._engine, work)

    def used(self, key_ids: list[str]) -> None:
        """Note that keys were just used."""
        in_transaction(self._engine, lambda c: keys.used(c, key_ids))
