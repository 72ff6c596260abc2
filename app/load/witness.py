"""The journal as a witness: who has ended when, what was paid twice, what workers hold."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from sqlalchemy import Engine

from app.journal.stores.overview import Overview

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
        self._overview = Overview(engine)
        self._ahead_s = min((self._looked() for _ in range(5)), key=lambda found: found[0])[1]

    def ends(self, run_ids: Sequence[str]) -> Iterator[RunEnd]:
        """Yield the ends of these runs that have one."""
        for part in _parts(run_ids):
            for run_id, at, state in self._overview.ends(part):
                yield RunEnd(run_id, at - self._ahead_s, state)

    def errors(self, run_ids: Sequence[str]) -> Iterator[str]:
        """Yield kind and message of the error of each of these runs that has failed."""
        for part in _parts(run_ids):
            yield from self._overview.errors(part)

    def known(self, run_ids: Sequence[str]) -> int:
        """How many of these runs have a row."""
        return sum(self._overview.known(part) for part in _parts(run_ids))

    def paid_twice(self, run_ids: Sequence[str]) -> int:
        """How many calls of these runs were made again after they had finished."""
        return sum(self._overview.paid_twice(part) for part in _parts(run_ids))

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
        theirs = self._overview.clock()
        after = time.time()
        return after - before, theirs - (before + after) / 2


def _parts(ids: Iterable[str]) -> Iterator[list[str]]:
    rest = iter(ids)
    while part := [*islice(rest, _AT_ONCE)]:
        yield part
