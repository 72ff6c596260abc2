"""Ends of a flow's members that are written together, a moment after the last of them.

Where a flow asks one agent after the other, and none of them has effects, a commit for each would
take longer than what they do. So the next one runs before the end of the one before is written. A
row of them is one transaction, as one end and what follows it are (sequels.py): either all of it
is written, where the journal is as the flow's code took it to be, or nothing. Of those behind the
first one nobody but this process knows until then.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any

from sqlalchemy import Connection, text

from app.concurrency.future import Future
from app.journal.schema.engine import as_json
from app.journal.schema.new_steps import INHERITED, insert_into_steps, words
from app.journal.schema.rows import Claimed
from app.journal.schema.sealed import sealed_entry
from app.journal.sequels import (
    COMMON,
    KINDS,
    LOCKED,
    LOCKS,
    OWN,
    OWN_NAMES,
    TELL,
    XID,
    GoingOn,
    SequelOperation,
    Sequels,
    begun_by,
    columns_of,
    common_values,
    end_of,
    prepared,
)
from app.journal.steps.joins import Rules
from app.journal.steps.members import NewMember, new_members
from app.journal.writing.prepared import Prepared, Shot
from app.journal.writing.sqlite_members import encode, value
from celery_agents.errors import JournalUnavailableError

#: Ends that wait for each other, and the bytes of what is written of them.
ENDS_MAX, BYTES_MAX = 64, 2**18
#: Seconds that code of a step waits for them, where it wants something of the journal.
PATIENCE_S = 60.0


class Ahead:
    """A row of ends. It is added to by one fiber; whoever wants it written may be any thread.

    Args:
        sequels: of the journal.
        first: the claim of the member whose end is the first.
        worker_id: of this process.
    """

    def __init__(self, sequels: Sequels, first: Claimed, worker_id: str) -> None:
        self.first = first
        self.since = self._added = time.monotonic()
        self.goings: list[GoingOn] = []
        #: Tells the first end by itself, where the row is refused.
        self.first_ends: Callable[[], object] = bool
        self._sequels = sequels
        self._worker_id = worker_id
        self._rows: list[_EndRow] = []
        self._bytes = 0
        self._lock = threading.Lock()
        self._written: Future[Claimed | None] | None = None
        self._given_up = False
        self._calls: list[Callable[[], Any]] = []

    def add(self, going: GoingOn) -> Claimed | None:
        """Add the end of the last one; return the next one, begun here alone. None: too late.

        Raises:
            PayloadTooLargeError: what that is told is too large.
        """
        ended = self.last_id if self._rows else self.first.id
        row = _EndRow.of(self._sequels.rules, ended, going)
        with self._lock:
            if self._written is not None:
                return None
            self.goings.append(going)
            self._rows.append(row)
            self._added = time.monotonic()
            self._bytes += row.bytes
        return begun_by(going.flow.claim, row.new, self)

    @property
    def full(self) -> bool:
        """True when no more is to be added."""
        return len(self._rows) >= ENDS_MAX or self._bytes >= BYTES_MAX

    @property
    def last_id(self) -> str:
        """The id of the last one begun."""
        return self._rows[-1].new.id

    @property
    def is_sent(self) -> bool:
        """True once it is under way to the journal."""
        return self._written is not None

    def write(self) -> Future[Claimed | None]:
        """Write it, once: the last one begun, now by the journal; None: nothing was written."""
        with self._lock:
            if self._written is not None:
                return self._written
            waited_s = time.monotonic() - self._added  # it may have been frozen meanwhile
            about: Any = {"rules": self._sequels.rules, "waited_s": waited_s}
            operation = GoOnAll(self.first, self.goings, self._rows, self._worker_id, **about)
            self._written = operation.future
        for call in self._calls:
            self._written.add_done_callback(partial(_if_written, call))
        return self._sequels.writer.submit(operation)

    def then(self, call: Callable[[], Any]) -> None:
        """Make a call once it is written, by whoever writes it; where it is refused, never."""
        with self._lock:
            if self._written is None:
                self._calls.append(call)
                return
        self._written.add_done_callback(partial(_if_written, call))

    def is_given_up(self) -> bool:
        """Give it up; return whether nobody has, so that its first end is to be told by itself."""
        with self._lock:
            before, self._given_up = self._given_up, True
        return not before

    def settle(self) -> None:
        """See that it is in the journal, from any thread; it blocks for a moment.

        Raises:
            JournalUnavailableError: it is not, and will not be.
        """
        written = self.write()
        if not written.come_within(PATIENCE_S):
            raise JournalUnavailableError("Ends that come before it are not written yet.")
        if written.result() is None:
            raise JournalUnavailableError("Its flow has gone on in another way.")


def _if_written(call: Callable[[], Any], written: Future[Claimed | None]) -> None:
    if written.exception() is None and written.result() is not None:
        call()


class _EndRow:
    """One end of a row, as it is written: the member that it begins, its line, its outcome."""

    __slots__ = ("at", "bytes", "data", "new", "outcome")

    def __init__(self, new: NewMember, at: float, outcome: str, data: str) -> None:
        self.new, self.at, self.outcome, self.data = new, at, outcome, data
        self.bytes = len(outcome) + len(data) + len(new.text)

    @classmethod
    def of(cls, rules: Rules, ended: str, going: GoingOn) -> _EndRow:
        seals, line, flow = rules.seals, going.line, going.flow
        (new,) = new_members(flow.claim, [going.asks], rules.spread_limit_bytes, seals)
        outcome = going.outcome if seals is None else seals.seal_outcome(going.outcome, ended)
        data = as_json(sealed_entry(seals, line, flow.lines))
        return cls(new, going.at, as_json(outcome.compact()), data)


class GoOnAll(SequelOperation):
    """End claimed members of a flow, one behind the other, and begin the next one of the last."""

    def __init__(
        self,
        claim: Claimed,
        goings: Sequence[GoingOn],
        rows: Sequence[_EndRow],
        worker_id: str,
        *,
        rules: Rules,
        waited_s: float,
    ) -> None:
        super().__init__()
        first, last = goings[0], rows[-1]
        self.begun = begun_by(first.flow.claim, last.new)
        # All but the last one end as they are made.
        ends = [*((row.at, row.outcome) for row in rows[1:]), (None, None)]
        self.made = [
            (*columns_of(row.new), row.at, *end) for row, end in zip(rows, ends, strict=True)
        ]
        self.told = [row.data for row in rows]
        self.values = {
            **common_values(claim, first, worker_id, rules),
            "until": last.at + waited_s,  # then its worker has to have its lease
            "outcome": rows[0].outcome,
        }

    @property
    def sent(self) -> dict[str, Any]:
        """The values of all parameters of PostgreSQL, in their order."""
        columns = [list(column) for column in zip(*self.made, strict=True)]
        more = {**dict(zip(_ROWS, columns, strict=True)), "datas": self.told}
        return {name: (self.values | more)[name] for name in _GIVEN}

    @classmethod
    def shot(cls, operations: Sequence[GoOnAll]) -> Shot | None:
        (one,) = operations
        locked = (one.values[name] for name in ("flow", *LOCKED))
        values = (*locked, *one.sent.values())
        return Shot(_go_on_all(), values, [one.begun.id], lambda _place, _row: one.as_begun)

    @property
    def as_begun(self) -> Claimed:
        """The last one; its time goes by from now on."""
        return replace(self.begun, since=time.monotonic())

    @classmethod
    def apply(cls, connection: Connection, operations: Sequence[GoOnAll]) -> list[Claimed | None]:
        return [o.as_begun if o.written(connection) else None for o in operations]

    def written(self, connection: Connection) -> bool:
        """Write it; True too where an earlier try was committed, and its answer lost."""
        if connection.dialect.name == "sqlite":
            done = self._write_lines(connection)
        else:
            for lock in LOCKS:  # they come first, in the order of all (locks.py)
                connection.execute(text(lock.format(":flow", ":member")), self.values)
            done = connection.execute(text(_at_once()), self.sent).first() is not None
        if done or not self.again:
            return done
        about = {**self.values, "id": self.begun.id, "begun_at": self.made[-1][len(OWN)]}
        return connection.execute(_MADE, about).first() is not None

    def _write_lines(self, connection: Connection) -> bool:
        values = {**self.values, "rows": encode(self.made), "lines": encode(self.told)}
        end, make, tell = _statements()
        if not connection.exec_driver_sql(end, values).rowcount:
            return False
        written = [connection.exec_driver_sql(s, values).rowcount for s in (make, tell)]
        if written != [len(self.made)] * 2:
            raise RuntimeError(f"Of a flow's way on only a part was written: {written}")
        return True


#: The row of the last one as this has made it, at about that time: SQLite reads it as text.
_MADE = text(
    "SELECT id FROM steps WHERE id = :id AND token = 1 AND state = 'running' "
    "AND worker_id = :worker AND abs(created_at - :begun_at) < 0.000001 AND NOT cancel_requested"
)
#: The columns of members, with the times of their begins and ends, and their outcomes.
_ROWS = {
    **{name: f"{KINDS[OWN_NAMES.get(name, name)]}[]" for name in OWN},
    "begun_at": "double precision[]",
    "ended_at": "double precision[]",
    "outcomes": "text[]",
}
#: All values with their types, as they are sent to PostgreSQL.
_GIVEN = {
    **COMMON,
    "until": "double precision",
    "outcome": "json",
    **_ROWS,
    "datas": "text[]",
}


def _row(of: Mapping[str, str], value: Mapping[str, str], place: str, *, server: bool) -> str:
    """The rows ``of`` the next members, of the flow ``f`` and the member ``m`` before them."""
    begun, ended, outcome = of["begun_at"], of["ended_at"], of["outcomes"]
    over = f"{ended} IS NOT NULL"
    row = words(
        {OWN_NAMES.get(n, n): of[n] for n in OWN} | {name: f"f.{name}" for name in INHERITED},
        at=begun,
        wake_grace_s=value["grace"],
        cast=server,
        fixed={
            "state": f"CASE WHEN {over} THEN 'succeeded' ELSE 'running' END",
            "attempts": "1",
            "token": "1",
            "started_at": begun,
            "finished_at": ended,
            "outcome": f"CAST({outcome} AS json)" if server else outcome,
            "settled": over,
            "wake_at": f"coalesce({ended}, {begun}) + {value['grace']}",
            "worker_id": f"CASE WHEN {over} THEN NULL ELSE {value['worker']} END",
            "parent_id": "f.id",
            "round": "m.round",
            "position": f"m.position + {place}",
        },
    )
    return insert_into_steps(row)


@cache
def _statements() -> tuple[str, str, str]:
    """SQLite's: the first one finds out whether the others are to be executed."""
    own = {name: f":{name}" for name in _GIVEN}
    of = {name: value(n) for n, name in enumerate(_ROWS)}
    ids = f"SELECT {of['id']} FROM json_each(:rows) AS v"  # noqa: S608 - of our own constants
    sources = "FROM json_each(:rows) AS v, steps AS f, steps AS m"
    sources += " WHERE f.id = :flow AND m.id = :member"
    told = {**own, "seq": ":seq + v.key", "data": "v.value", "xid": "0", "at": ":until"}
    return (
        end_of(own, taken=f"s.id IN ({ids})"),
        f"{_row(of, own, 'v.key + 1', server=False)} {sources}",
        f"{TELL.format_map(told)} FROM json_each(:lines) AS v",
    )


def _whole(value: Mapping[str, str]) -> str:
    """PostgreSQL's, one statement: all of it is written, or nothing."""
    of = {name: f"v.{name}" for name in _ROWS}
    rows = f"unnest({', '.join(value[n] for n in _ROWS)}) WITH ORDINALITY AS v({', '.join(_ROWS)}"
    made = _row(of, value, "CAST(v.n AS integer)", server=True)
    told = {**value, "seq": f"{value['seq']} + v.n - 1", "data": "CAST(v.data AS json)"}
    told |= {"at": value["until"], "xid": XID}
    return f"""
    WITH ended AS (
        {end_of(value, taken=f"s.id = ANY ({value['id']})")}
        RETURNING steps.round, steps.position
    ), made AS (
        {made} FROM steps AS f, ended AS m, {rows}, n) WHERE f.id = {value["flow"]}
        RETURNING id, finished_at
    ), told AS (
        {TELL.format_map(told)}
        FROM unnest({value["datas"]}) WITH ORDINALITY AS v(data, n), ended
    )
    SELECT id FROM made WHERE finished_at IS NULL
    """  # noqa: S608 - of our own constants


@cache
def _at_once() -> str:
    return _whole({name: f"CAST(:{name} AS {kind})" for name, kind in _GIVEN.items()})


@cache
def _go_on_all() -> Prepared:
    return prepared("go_on_all", _GIVEN, _whole)
