"""A map of many members that is under way, made of rows: no worker, and none that changes it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine, text, update

from app.journal.schema.models import Join, Step
from celery_agents import names
from celery_agents.contracts.outcome import State
from celery_agents.wire.ids import new_id
from tests.unit.app.journal.support import DONE, SOON, World, claimed, plan, step

#: Seconds for which its members wait for their next attempt.
_WAITS_S = 5_000


def grow(engine: Engine, parent_id: str, number: int) -> None:
    """Copy a step's one member until it has so many."""
    with engine.begin() as c:
        columns = [column.name for column in Step.__table__.columns]
        changed = {"id": "id || n", "position": "n", "member": "'m' || n"}
        chosen = ", ".join(changed.get(name, name) for name in columns)
        numbers = f"SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {number - 1}"
        copied = f"SELECT {chosen} FROM steps, numbers WHERE parent_id = '{parent_id}'"
        series = f"WITH RECURSIVE numbers(n) AS ({numbers})"
        c.execute(text(f"INSERT INTO steps ({', '.join(columns)}) {series} {copied}"))


class LargeMap:
    """Its run; members end when it is said."""

    def __init__(self, engine: Engine, run_id: str) -> None:
        self.run_id = run_id
        self._engine = engine
        self._done = 0

    def end(self, number: int) -> None:
        """Let so many more members succeed, in their order."""
        first, self._done = self._done, self._done + number
        ended = {
            "state": State.SUCCEEDED,
            "outcome": DONE.model_dump(mode="json"),
            "started_at": Step.created_at + 0.1,
            "finished_at": Step.created_at + 0.4,
        }
        these = Step.position.between(first, self._done - 1)
        counts = {"done": self._done, "succeeded": self._done}
        with self._engine.begin() as c:
            c.execute(update(Step).where(Step.parent_id == self.run_id, these).values(ended))
            c.execute(update(Join).where(Join.step_id == self.run_id).values(counts))


@contextmanager
def large_map(database_url: str, members: int) -> Iterator[LargeMap]:
    """A run of so many members, of which none has ended."""
    world, run_id = World(database_url), new_id()
    try:
        journal = world.journal()
        journal.beat()
        parent = claimed(journal, run_id, step(run_id, task=names.MAP, agent=None))
        (wake,) = journal.expand(parent, plan("0")).result(SOON).members
        journal.postpone(claimed(journal, wake.id), delay_s=_WAITS_S).result(SOON)
        grow(world.engine, run_id, members)
        world.set_join(run_id, expected=members)
        yield LargeMap(world.engine, run_id)
    finally:
        world.close()
