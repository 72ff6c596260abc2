"""Runs that have ended, each once, for what is made of their rows afterwards.

They are found in the order in which runs began, behind a cursor, or among those that were open when
the cursor passed them. So nothing is written while steps run, whatever a worker's end loses is
found all the same, and what SQL ended is too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import Connection, delete, exists, insert, or_, select, update

from app.journal.schema.engine import now
from app.journal.schema.models import Memo, Run, Step, Uncounted, Untold
from app.journal.schema.upsert import insert_new


class Place(NamedTuple):
    """A place in the order in which runs began."""

    at: float
    run_id: str


class Cursor(NamedTuple):
    """The place up to which runs were looked at, and how often something was written."""

    place: Place
    turn: int


@dataclass(frozen=True, slots=True)
class EndedRuns:
    """Runs of which every step has ended, and where the cursor goes."""

    seen: Cursor
    place: Place
    run_ids: Sequence[str]
    #: Of those that were open: these are over now.
    over: Sequence[str]
    opened: Sequence[str]
    #: Whether there was no cursor yet, and one has to be kept though there is nothing else.
    begins: bool = False

    @property
    def is_empty(self) -> bool:
        """True when there is nothing to write."""
        return self.seen.place == self.place and not (self.over or self.begins)


@dataclass(frozen=True, slots=True)
class Passing:
    """A cursor under its name, and the table of the runs that were open when it passed them."""

    name: str
    still_open: type[Uncounted | Untold]

    def look(
        self,
        connection: Connection,
        limit: int,
        grace_s: float,
        *,
        since: float = 0.0,
        most_s: float | None = None,
    ) -> EndedRuns:
        """Read what has ended, of so many new runs and so many that were open.

        Args:
            connection: in a transaction, which may only read.
            limit: the number of runs.
            grace_s: seconds after which every run that began has its row: its commit is over.
            since: where a new cursor begins.
            most_s: runs that began longer ago are passed over, but for those that were open.
        """
        seen = self._cursor(connection)
        begins = seen is None and since > 0
        seen = seen or Cursor(Place(since, ""), 0)
        after, run_id = seen.place
        query = (
            select(Run.id, Run.created_at)
            .where(Run.created_at >= after, Run.created_at <= now() - grace_s)
            .where(or_(Run.created_at > after, Run.id > run_id))
        )
        if most_s is not None:
            query = query.where(Run.created_at > now() - most_s)
        new = connection.execute(query.order_by(Run.created_at, Run.id).limit(limit)).all()
        table = self.still_open
        waiting = select(table.run_id).join(Run, Run.id == table.run_id)
        ended = waiting.where(Run.finished_at.is_not(None)).limit(limit)
        old = list(connection.execute(ended).scalars())
        ids = self._not_noted(connection, [row.id for row in new])
        settled = _ended(connection, [*ids, *old])
        return EndedRuns(
            seen=seen,
            place=Place(new[-1].created_at, new[-1].id) if new else seen.place,
            run_ids=[i for i in [*ids, *old] if i in settled],
            over=[i for i in old if i in settled],
            opened=[i for i in ids if i not in settled],
            begins=begins,
        )

    def store(self, connection: Connection, told: EndedRuns) -> bool:
        """Move the cursor; False where somebody else has meanwhile, and nothing is written."""
        empty = {"place": [*told.seen.place], "turn": told.seen.turn}
        first = insert_new(connection, Memo).values(key=self.name, data=empty, changed_at=now())
        connection.execute(first)
        if self._cursor(connection, held=True) != told.seen:
            return False
        connection.execute(delete(self.still_open).where(self.still_open.run_id.in_(told.over)))
        if told.opened:
            rows = [{"run_id": run_id} for run_id in told.opened]
            connection.execute(insert(self.still_open), rows)
        data = {"place": [*told.place], "turn": told.seen.turn + 1}
        moved = update(Memo).where(Memo.key == self.name)
        connection.execute(moved.values(data=data, changed_at=now()))
        return True

    def reached(self, connection: Connection) -> float:
        """The time up to which every run that began was looked at."""
        cursor = self._cursor(connection)
        return 0.0 if cursor is None else cursor.place.at

    def _not_noted(self, connection: Connection, run_ids: Sequence[str]) -> list[str]:
        """Those that stand among the open ones are found there: app/journal/outbox.py."""
        noted = select(self.still_open.run_id).where(self.still_open.run_id.in_(run_ids))
        known = set(connection.execute(noted).scalars()) if run_ids else set()
        return [run_id for run_id in run_ids if run_id not in known]

    def _cursor(self, connection: Connection, *, held: bool = False) -> Cursor | None:
        query = select(Memo.data).where(Memo.key == self.name)
        data = connection.execute(query.with_for_update() if held else query).scalar()
        return Cursor(Place(*data["place"]), data["turn"]) if data else None


def _ended(connection: Connection, run_ids: Sequence[str]) -> set[str]:
    """Return those of which every step has ended."""
    moving = exists().where(Step.run_id == Run.id, Step.finished_at.is_(None))
    query = select(Run.id).where(Run.id.in_(run_ids), Run.finished_at.is_not(None), ~moving)
    return set(connection.execute(query).scalars()) if run_ids else set()
