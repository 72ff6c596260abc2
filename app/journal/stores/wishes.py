"""All that waits for a person."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine

from app.journal.schema.engine import reading
from app.journal.schema.transactions import in_transaction
from app.journal.steps import approvals


class Wishes:
    """The steps that wait for a person's answer; ``Journal.approve`` gives it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def list(self, run_id: str | None = None, *, limit: int = 1000) -> list[dict[str, Any]]:
        """Those of one run or of all, oldest first; see :class:`Wish`."""
        work = lambda c: approvals.wishes(c, run_id, limit)  # noqa: E731
        return in_transaction(reading(self._engine), work)
