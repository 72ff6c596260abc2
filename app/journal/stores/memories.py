"""Memories, for steps that recall and for clients."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import Engine

from app.journal.memory import keeping, recall
from app.journal.memory.recall import MemoryQuestion
from app.journal.schema.engine import reading
from app.journal.schema.rows import NewMemory
from app.journal.schema.transactions import in_transaction
from celery_agents.contracts.memory import MemoryRecord


@dataclass(frozen=True, slots=True)
class MemoryStore:
    """The spaces of a journal; steps add to them by ``Journal.finish``."""

    engine: Engine

    def recall(self, asked: MemoryQuestion) -> list[MemoryRecord]:
        """Recall what fits a question; see :func:`app.journal.memory.recall.recall`."""
        return in_transaction(reading(self.engine), lambda c: recall.recall(c, asked))

    def keep(self, new: Sequence[NewMemory]) -> int:
        """Add memories that are everybody's at once; returns how many were not there yet."""
        return in_transaction(self.engine, lambda c: keeping.keep(c, new, live=True))

    def page(self, tenant: str, space: str, after: int) -> tuple[list[MemoryRecord], int | None]:
        """A page of a space; see :func:`app.journal.memory.recall.page`."""
        return in_transaction(reading(self.engine), lambda c: recall.page(c, tenant, space, after))

    def erase(self, tenant: str, space: str, ids: Collection[str] | None = None) -> int:
        """Delete memories; see :func:`app.journal.memory.keeping.erase`."""
        return in_transaction(self.engine, lambda c: keeping.erase(c, tenant, space, ids))
