"""Finding runs and looking into them: for people, who wait for no worker's step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine

from app.journal.queries import details, finding, witness
from app.journal.queries.cluster import cluster
from app.journal.queries.progress import progresses
from app.journal.queries.reads import calls_made_twice
from app.journal.schema.engine import read_clock, reading
from app.journal.schema.transactions import in_transaction
from celery_agents.contracts.watching import Cluster, MemberProgress, RunFilter, RunPage

T = TypeVar("T")


class Overview:
    """Reads the journal alone."""

    def __init__(self, engine: Engine) -> None:
        self._engine = reading(engine)

    def runs(self, wanted: RunFilter) -> RunPage:
        """A page of the runs that are looked for."""
        return self._read(lambda c: finding.page(c, wanted))

    def run(self, run_id: str, *, answers: bool = False) -> dict[str, Any] | None:
        """A run as a tree, with calls, ballots, events and, if asked for, answers."""
        return self._read(lambda c: details.run_details(c, run_id, answers=answers))

    def progress(self, step_id: str) -> MemberProgress | None:
        """How far a step is with its members; None where it has none."""
        found = self._read(lambda c: progresses(c, [step_id]))
        return found[0] if found else None

    def cluster(self) -> Cluster:
        """Workers, and how many steps wait for what; its queues are known to Redis."""
        return self._read(cluster)

    def clock(self) -> float:
        """The journal's clock."""
        return self._read(read_clock)

    def ends(self, run_ids: Sequence[str]) -> list[tuple[str, float, str]]:
        """Id, end and state of those of these runs that have ended."""
        return self._read(lambda c: witness.ends(c, run_ids))

    def errors(self, run_ids: Sequence[str]) -> list[str]:
        """Kind and message of the error of each of these runs that has failed."""
        return self._read(lambda c: witness.errors(c, run_ids))

    def known(self, run_ids: Sequence[str]) -> int:
        """How many of these runs have a row."""
        return self._read(lambda c: witness.known(c, run_ids))

    def paid_twice(self, run_ids: Sequence[str]) -> int:
        """How many calls of these runs were made again after they had finished."""
        return self._read(lambda c: calls_made_twice(c, run_ids))

    def _read(self, work: Callable[[Connection], T]) -> T:
        return in_transaction(self._engine, work)
