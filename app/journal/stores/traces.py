"""The journal as traces are told of it: runs that have ended, each once."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, Engine

from app.journal.queries import traced
from app.journal.queries.traced import TracedRun
from app.journal.schema.engine import read_clock, reading
from app.journal.schema.models import Untold
from app.journal.schema.transactions import in_transaction
from app.journal.tables.ended import EndedRuns, Passing
from app.journal.tables.workers import take_duty

_PASSING = Passing("traces", Untold)


class Traces:
    """Runs of which every step has ended, behind a cursor that is moved once they are told.

    Args:
        engine: of the journal.
        holder: the id of this process.
        delay_s: a run is told so long after its begin at the earliest: by then its row is there.
        backlog_s: one that began longer ago is passed over.
    """

    def __init__(self, engine: Engine, holder: str, *, delay_s: float, backlog_s: float) -> None:
        self._engine = engine
        self._holder = holder
        self._delay_s, self._backlog_s = delay_s, backlog_s

    def take_duty(self, lease_s: float) -> bool:
        """Try to take, or keep, the duty of telling for the next ``lease_s`` seconds."""
        return in_transaction(self._engine, lambda c: take_duty(c, "traces", self._holder, lease_s))

    def ended(self, limit: int) -> tuple[EndedRuns, dict[str, int]]:
        """Some runs that have ended and are not told, with how many steps each has.

        Where nobody has told traces before, those are meant that begin from now on.
        """

        def look(connection: Connection) -> tuple[EndedRuns, dict[str, int]]:
            since = read_clock(connection) - self._delay_s
            about = {"since": since, "most_s": self._backlog_s}
            found = _PASSING.look(connection, limit, self._delay_s, **about)
            return found, traced.sizes(connection, found.run_ids) if found.run_ids else {}

        return in_transaction(reading(self._engine), look)

    def rows(self, run_ids: Sequence[str], *, content: bool) -> list[TracedRun]:
        """The rows of these runs; see :func:`traced.traced`."""
        return in_transaction(
            reading(self._engine), lambda c: traced.traced(c, run_ids, content=content)
        )

    def told(self, ended: EndedRuns) -> bool:
        """Note that these runs are told; False where somebody else has told some meanwhile."""
        return in_transaction(self._engine, lambda c: _PASSING.store(c, ended))
