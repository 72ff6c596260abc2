"""Making rows of steps: for claims, for steps that follow one, for messages that were lost."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from operator import itemgetter
from typing import Any, ClassVar

from sqlalchemy import Connection

from app.journal.schema.engine import as_json, read_clock
from app.journal.schema.models import Run, Step
from app.journal.schema.new_steps import OF_RUN, columns_of, row_of
from app.journal.schema.rows import NewStep
from app.journal.schema.upsert import insertion
from app.journal.steps.remains import begin_anew
from app.journal.writing import prepared
from app.journal.writing.operation import Operation
from app.journal.writing.prepared import Shot


class InsertStep(Operation[None]):
    """Make the row of a step that is ready, unless it has one.

    It waits for no disk: what follows a step is made again as long as that is not settled, and the
    settling comes later in the same log.
    """

    order: ClassVar[int] = 25
    final = False

    def __init__(self, new: NewStep, wake_grace_s: float) -> None:
        super().__init__()
        self.new = new
        self.wake_grace_s = wake_grace_s

    @classmethod
    def shot(cls, operations: Sequence[InsertStep]) -> Shot:
        new = _in_order([o.new for o in operations])
        payloads = [as_json(n.payload) for n in new]
        statement = prepared.INSERT_ONE if len(new) == 1 else prepared.INSERT
        return Shot(statement, made(new, payloads, None, operations[0].wake_grace_s))

    @classmethod
    def apply(cls, connection: Connection, operations: Sequence[InsertStep]) -> list[None]:
        at = read_clock(connection)
        insert_steps(connection, [row_of(o.new, at, o.wake_grace_s) for o in operations])
        return [None] * len(operations)


class AcceptStep(Operation[bool]):
    """The same for a run that was just asked for: whoever asked is told that it is accepted.

    It tells whether the run is new: something may have been asked for under its id before.
    """

    order: ClassVar[int] = 26

    def __init__(self, new: NewStep, wake_grace_s: float) -> None:
        super().__init__()
        self.new = new
        self.wake_grace_s = wake_grace_s

    @classmethod
    def shot(cls, operations: Sequence[AcceptStep]) -> Shot | None:
        ids = [o.new.id for o in operations]
        if len(set(ids)) < len(ids):
            return None  # one row would answer for all of them
        new = _in_order([o.new for o in operations])
        payloads = [as_json(n.payload) for n in new]
        statement = prepared.ACCEPT_ONE if len(ids) == 1 else prepared.ACCEPT
        values = made(new, payloads, None, operations[0].wake_grace_s)
        return Shot(statement, values, ids, lambda _place, _row: True)

    @classmethod
    def apply(cls, connection: Connection, operations: Sequence[AcceptStep]) -> list[bool]:
        at = read_clock(connection)
        first: dict[str, AcceptStep] = {}
        for operation in operations:
            first.setdefault(operation.new.id, operation)
        rows = [row_of(o.new, at, o.wake_grace_s) for o in first.values()]
        new = insert_steps(connection, rows)
        return [o.new.id in new and first[o.new.id] is o for o in operations]


def _in_order(new: list[NewStep]) -> list[NewStep]:
    """Return rows by their ids: two inserts of the same wait for each other in one order."""
    return sorted(new, key=lambda n: n.id)


def made(
    new: Sequence[NewStep], payloads: list[str], worker_id: str | None, wake_grace_s: float
) -> tuple[Any, ...]:
    """Return the arguments of a prepared insert of rows, or of one, with payloads as JSON."""
    columns = columns_of(new, payloads)
    given = [column[0] for column in columns] if len(new) == 1 else columns
    return (*given, worker_id, wake_grace_s)


def insert_steps(connection: Connection, rows: list[dict[str, Any]]) -> set[str]:
    """Insert steps that are not there yet, and the run of each root among them.

    Returns the ids of the new ones.
    """
    rows = sorted(rows, key=itemgetter("id"))  # in one order, as above
    ids = set(connection.execute(_insertion(connection.dialect.name, Step), rows).scalars())
    roots = {
        r["id"]: {"state": "open", **{name: r[name] for name in (*OF_RUN, "created_at")}}
        for r in rows
        if r["parent_id"] is None and r["id"] in ids
    }
    if roots:
        runs = _insertion(connection.dialect.name, Run)
        made = set(connection.execute(runs, [*roots.values()]).scalars())
        begin_anew(connection, [row for run_id, row in roots.items() if run_id not in made])
    return ids


@cache
def _insertion(dialect: str, model: Any) -> Any:
    # With RETURNING, SQLAlchemy sends one statement for all rows.
    return insertion(dialect, model).returning(model.id)
