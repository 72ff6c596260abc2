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

    def add(self, row: dict[str, Any], lasts_s: float | None, ends_by: float | None = None) -> None:
        """Write down a new key, which ends after so many seconds, at a time at the latest."""
        in_transaction(self._engine, lambda c: keys.add(c, row, lasts_s, ends_by))

    def find(self, key_id: str) -> dict[str, Any] | None:
        """The key of that id, where it holds."""
        return in_transaction(reading(self._engine), lambda c: keys.find(c, key_id))

    def kept(self, key_id: str) -> dict[str, Any] | None:
        """The key of that id, also where it holds no longer."""
        return in_transaction(reading(self._engine), lambda c: keys.kept(c, key_id))

    def listed(self, tenant: str | None) -> list[dict[str, Any]]:
        """Keys of a tenant, or of all, the newest first."""
        return in_transaction(reading(self._engine), lambda c: keys.listed(c, tenant))

    def revoke(
        self, key_id: str, tenant: str | None = None, *, after_s: float = 0.0
    ) -> dict[str, Any] | None:
        """End a key, now or after so many seconds; None when there is none of that id."""
        return in_transaction(self._engine, lambda c: keys.revoke(c, key_id, tenant, after_s))

    def replace(self, key_id: str, row: dict[str, Any], *, after_s: float) -> bool:
        """Write down a key in place of one that ends after so many seconds; False: none holds.

        It ends when that one was to end.
        """

        def work(connection: Connection) -> bool:
            old = keys.find(connection, key_id)
            if old is None or keys.revoke(connection, key_id, None, after_s) is None:
                return False
            keys.add(connection, row, None, old["expires_at"])
            return True

        return in_transaction(self._engine, work)

    def used(self, key_ids: list[str]) -> None:
        """Note that keys were just used."""
        in_transaction(self._engine, lambda c: keys.used(c, key_ids))
