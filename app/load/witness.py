"""The journal as a witness: who has ended when, what was paid twice, what workers hold."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, func, select

from app.journal.schema.engine import now, reading
from app.journal.schema.models import Call, Run, Step
from app.journal.schema.transactions import in_transaction
from app.journal.stores.overview import Overview

R = TypeVar("R")
#: Ids in one statement.
_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class RunEnd:
    """How a run ended; when, by the tester's clock."""

    run_id: str
    at: float
    state: str


class Witness:
    """Reads what the test needs to know; the journal's clock is told in the tester's."""

    def __init__(self, engine: Engine) -> None:
        self._engine = reading(engine)
        self._overview = Overview(engine)
        self._ahead_s = min((self._looked() for _ in range(5)), key=lambda found: found[0])[1]

    def ends(self, run_ids: Sequence[str]) -> Iterator[RunEnd]:
        """Yield the ends of these runs that have one."""
        wanted = select(Run.id, Run.finished_at, Run.state).where(Run.finished_at.is_not(None))
        for part in _parts(run_ids):
            query = wanted.where(Run.id.in_(part))
            for run_id, at, state in self._rows(query):
                yield RunEnd(run_id, at - self._ahead_s, state)

    def known(self, run_ids: Sequence[str]) -> int:
        """How many of these runs have a row."""
        query = select(func.count()).select_from(Run)
        return sum(self._counted(query.where(Run.id.in_(part))) for part in _parts(run_ids))

    def paid_twice(self, run_ids: Sequence[str]) -> int:
        """How many calls of these runs were made again after they had finished."""
        later = select(Call).subquery("later")
        query = (
            select(func.count())
            .select_from(Call)
            .join(Step, Step.id == Call.step_id)
            .join(
                later,
                (later.c.step_id == Call.step_id)
                & (later.c.fingerprint == Call.fingerprint)
                & (later.c.token > Call.token)
                & (later.c.started_at > Call.finished_at),
            )
            .where(Call.finished_at.is_not(None), Call.error.is_(None))
        )
        return sum(self._counted(query.where(Step.run_id.in_(part))) for part in _parts(run_ids))

    def memory(self) -> dict[str, int]:
        """Bytes that each worker that is up held at its last heartbeat, by name and process."""
        return {
            f"{worker.name} ({worker.pid})": worker.memory_bytes
            for worker in self._overview.cluster().workers
            if worker.lease_left_s > 0 and worker.memory_bytes is not None
        }

    def _looked(self) -> tuple[float, float]:
        """How long a look at the journal's clock took, and by how much that is ahead."""
        before = time.time()
        theirs = self._read(lambda c: c.execute(select(now())).scalar_one())
        after = time.time()
        return after - before, theirs - (before + after) / 2

    def _rows(self, query: Any) -> Sequence[Any]:
        return self._read(lambda c: c.execute(query).all())

    def _counted(self, query: Any) -> int:
        return int(self._rows(query)[0][0])

    def _read(self, work: Callable[[Connection], R]) -> R:
        return in_transaction(self._engine, work)


def _parts(ids: Iterable[str]) -> Iterator[list[str]]:
    rest = iter(ids)
    while part := [*islice(rest, _AT_ONCE)]:
        yield part
