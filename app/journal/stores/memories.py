"""Memories, for steps that recall and for clients."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Engine

from agents.memory.backends import MemoryBackend, built_in
from app.journal.memory import keeping, outcomes, recall, spaces
from app.journal.memory.vectors import Mirrors
from app.journal.memory.weighing import MemoryQuestion
from app.journal.queries import scores
from app.journal.schema.engine import reading
from app.journal.schema.rows import NewMemory, TextVector
from app.journal.schema.transactions import in_statements, in_transaction
from celery_agents.contracts.experience import Experienced
from celery_agents.contracts.memory import MemoryRecord


@dataclass(frozen=True, slots=True)
class MemoryStore:
    """The spaces of a journal; steps add to them by ``Journal.finish``."""

    engine: Engine
    mirrors: Mirrors = field(default_factory=Mirrors)
    #: The ways of finding memories, by name: those of plug-ins come from the configuration.
    backends: dict[str, MemoryBackend] = field(default_factory=built_in)

    def recall(self, asked: MemoryQuestion) -> list[MemoryRecord]:
        """Recall what fits a question; see :func:`app.journal.memory.recall.recall`."""
        backend = self.backends[asked.backend]
        return in_statements(self.engine, lambda c: recall.recall(c, asked, self.mirrors, backend))

    def keep(self, new: Sequence[NewMemory]) -> int:
        """Add memories that are everybody's at once; returns how many were not there yet."""
        return in_transaction(self.engine, lambda c: keeping.keep(c, new, live=True))

    def lacking(
        self, tenant: str, space: str, model: str, after: int
    ) -> tuple[list[MemoryRecord], int | None]:
        """A portion of a space's memories behind a place that have no vector of an agent."""
        return in_transaction(
            reading(self.engine), lambda c: recall.lacking(c, tenant, space, model, after)
        )

    def embed(self, tenant: str, space: str, vectors: Mapping[str, TextVector]) -> int:
        """Write vectors of memories, by their ids; returns how many are there still."""
        return in_transaction(self.engine, lambda c: keeping.embed(c, tenant, space, vectors))

    def outcomes(self, tenant: str, space: str, agent: str | None = None) -> list[Experienced]:
        """The outcomes of steps that a space keeps, perhaps of one agent."""
        read = reading(self.engine)
        return in_transaction(read, lambda c: [*outcomes.kept(c, tenant, space, agent)])

    def judge(self, run_id: str, message_id: str, *, right: bool) -> bool:
        """Let the outcomes of a run be worth what a person says; False: none is kept.

        The last verdict counts; a message that comes again, maybe behind another, says nothing.
        """

        def act(connection: Connection) -> bool:
            if not outcomes.held(connection, run_id):
                return False
            said = scores.said(connection, run_id, scores.JUDGED)
            if not any(one.get("message") == message_id for one in said):
                outcomes.judge(connection, run_id, right=right)
                told = {"right": right, "message": message_id}
                scores.add(connection, run_id, scores.JUDGED, told)
            return True

        return in_transaction(self.engine, act)

    def distrust(self, run_id: str) -> None:
        """Write down that a run has read what others wrote."""
        in_transaction(self.engine, lambda c: keeping.distrust(c, run_id))

    def untrusted(self, step_id: str) -> bool:
        """Return whether the run of a step has."""
        return in_transaction(reading(self.engine), lambda c: keeping.untrusted(c, step_id))

    def page(self, tenant: str, space: str, after: int) -> tuple[list[MemoryRecord], int | None]:
        """A page of a space; see :func:`app.journal.memory.recall.page`."""
        return in_transaction(reading(self.engine), lambda c: recall.page(c, tenant, space, after))

    def spaces(self, tenant: str, limit: int) -> list[tuple[str, int]]:
        """The spaces of a tenant; see :func:`app.journal.memory.spaces.listed`."""
        return in_transaction(reading(self.engine), lambda c: spaces.listed(c, tenant, limit))

    def stamp(self, tenant: str, space: str) -> tuple[Any, ...] | None:
        """Figures that change with what a space has; None: there is none."""
        return in_transaction(reading(self.engine), lambda c: spaces.stamp(c, tenant, space))

    def erase(self, tenant: str, space: str, ids: Collection[str] | None = None) -> int:
        """Delete memories; see :func:`app.journal.memory.keeping.erase`."""
        return in_transaction(self.engine, lambda c: keeping.erase(c, tenant, space, ids))
