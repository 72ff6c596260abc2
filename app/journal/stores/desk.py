"""The journal for those who ask from outside: it accepts runs, and shows them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine

from app.concurrency.future import Future
from app.journal.queries import finding, pages, reads, runs, sessions
from app.journal.queries.cluster import live
from app.journal.queries.pages import PageOfRun
from app.journal.schema.engine import reading
from app.journal.schema.rows import NewStep
from app.journal.schema.sealed import sealed_by, sealed_step
from app.journal.schema.transactions import in_transaction
from app.journal.steps import approvals, dead_letters
from app.journal.steps.inserts import AcceptStep
from app.journal.stores.targets import Targets
from app.journal.writing.writer import Writer
from celery_agents.contracts.watching import RunFilter, RunPage

T = TypeVar("T")
Rows = list[dict[str, Any]]


class Desk:
    """Runs, agents and sessions as they are asked for from outside.

    It claims nothing, and holds no lease. Where a ``tenant`` is asked for, None means all of them.
    """

    def __init__(self, engine: Engine, *, wake_grace_s: float, group_commit_max: int) -> None:
        self._engine = engine
        self._wake_grace_s = wake_grace_s
        self._batch_max = group_commit_max
        self._writer: Writer | None = None  # its thread is for those who accept
        self.ping = Targets(engine).ping

    @property
    def shared(self) -> bool:
        """True where the database is a server, whose commits go on beside each other."""
        return self._engine.dialect.name == "postgresql"

    def accept(self, runs: Iterable[NewStep]) -> list[Future[bool]]:
        """Make the rows of runs, in a group commit; False: it has one."""
        if self._writer is None:
            self._writer = Writer(self._engine, batch_max=self._batch_max)
        seals = sealed_by(self._engine)
        rows = [sealed_step(seals, run) for run in runs]
        return self._writer.submit_all([AcceptStep(row, self._wake_grace_s) for row in rows])

    def close(self) -> None:
        """Write what is queued, and close the connections."""
        if self._writer is not None:
            self._writer.close()
        self._engine.dispose()

    def asked(self, ids: Sequence[str]) -> dict[str, runs.Told]:
        """The task and the payload of those of these runs that have a row, or why not."""
        return self._read(lambda c: runs.asked(c, ids))

    def run(self, run_id: str) -> dict[str, Any] | None:
        """A run as a tree of steps with their answers; None when it has no row."""
        return self._read(lambda c: reads.run_tree(c, run_id, values=True))

    def page(self, wanted: PageOfRun) -> dict[str, Any] | None:
        """A run with some of its steps; see :func:`pages.run_page`."""
        return self._read(lambda c: pages.run_page(c, wanted))

    def pulse(self, run_id: str) -> pages.Pulse:
        """The pulse of a run: is it over, and figures that change with what is shown of it."""
        return self._read(lambda c: pages.pulse(c, run_id))

    def wishes_of(self, run_id: str) -> Rows:
        """Wishes of a run that wait for a person, oldest first."""
        return self._read(lambda c: approvals.wishes(c, run_id, 100))

    def runs(self, wanted: RunFilter) -> RunPage:
        """A page of runs, without what is in them."""
        return self._read(lambda c: finding.page(c, wanted))

    def owner(self, step_id: str) -> str | None:
        """The tenant of a step; None when it has no row."""
        return self._read(lambda c: runs.owner(c, step_id))

    def live(self, tenant: str | None) -> dict[str, int]:
        """How many steps are ready and running."""
        return self._read(lambda c: live(c, tenant))

    def wishes(self, tenant: str | None, limit: int, after: str | None = None) -> Rows:
        """All that waits for a person, oldest first; behind the wish of a key."""
        return self._read(lambda c: approvals.wishes(c, None, limit, tenant, after))

    def letters(
        self, tenant: str | None, limit: int, before: dead_letters.Place | None = None
    ) -> Rows:
        """The newest dead letters, or those before one, without what they hold."""
        return self._read(lambda c: dead_letters.listed(c, limit, tenant, before))

    def sessions(self, tenant: str, limit: int) -> Rows:
        """Sessions of a tenant, the last one changed first."""
        return self._read(lambda c: sessions.listed(c, tenant, limit))

    def session(self, tenant: str, name: str, after: int) -> dict[str, Any]:
        """Exchanges of a session from a place on; see :func:`sessions.page`."""
        return self._read(lambda c: sessions.page(c, tenant, name, after))

    def _read(self, work: Callable[[Connection], T]) -> T:
        return in_transaction(reading(self._engine), work)
