"""Small facts that all workers share, such as what fallbacks and estimates have learned."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Engine

from app.journal.schema.engine import reading
from app.journal.schema.transactions import in_transaction
from app.journal.tables import memos


class Memos:
    """The memos, each an object under a key."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def read(self, key: str) -> dict[str, Any]:
        """The memo under a key; an empty object where there is none."""
        return in_transaction(reading(self._engine), lambda c: memos.read(c, key))

    def change(
        self, key: str, revise: Callable[[dict[str, Any]], dict[str, Any]]
    ) -> dict[str, Any]:
        """Replace the memo under a key; return the new one."""
        return in_transaction(self._engine, lambda c: memos.change(c, key, revise))
