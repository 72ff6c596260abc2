"""A run whose root is gone, since it is being cleaned up, and which is asked for again.

Cleaning deletes a run's root first and its own row last, in transactions of their own. Between
them a root of the same id can be made: by a cancellation, a repeated message, a key of idempotency
that is used again. Its run begins anew then, without anything of the one before: members of that
would be taken for ended ones of this.

The row of the run decides: whoever cleans holds it, and looks whether the run is over when it does.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, or_, true

from app.journal.memory.keeping import PRIVATE
from app.journal.schema.models import Base, Entry, MemoryRow, Run, Step, table
from app.journal.schema.upsert import insert_of
from app.journal.steps.spending import book_doubts
from celery_agents.contracts.flows.entries import ANSWERS, HISTORY, INPUTS, SIGNALS, STEP_GRAPHS

#: What a whole run holds beside its steps, in tables that know it by ``run_id``.
OF_RUNS = [
    held
    for held in Base.metadata.sorted_tables
    if "run_id" in held.columns and held is not Step.__table__
]
#: What it alone remembers: the rest outlives it.
_OWN_MEMORIES: ColumnElement[bool] = table(MemoryRow).c.state == PRIVATE
#: Entries of its flows go with it, what they were told and asked for, and threads of graphs that
#: were steps of it, what it has answered as an actor, and its inputs; all others outlive it.
_OWN_ENTRIES = or_(
    *(Entry.stream.startswith(own) for own in (HISTORY, SIGNALS, STEP_GRAPHS, ANSWERS, INPUTS))
)
_S = table(Step).c
#: Columns of a run that has just begun, as its row says nothing else of them.
_BEGUN = {"finished_at": None, "usage": None, "compensable": False}


def begin_anew(connection: Connection, runs: Sequence[dict[str, Any]]) -> None:
    """Open runs whose roots have just been made, and delete what is left of those before them.

    They come in the order of their ids, since their rows are locked.
    """
    for run in runs:
        begun = {**run, **_BEGUN}
        upsert = insert_of(connection.dialect.name, table(Run)).values(begun)
        connection.execute(upsert.on_conflict_do_update(index_elements=["id"], set_=begun))
        left = (_S.run_id == run["id"]) & (_S.id != run["id"])
        book_doubts(connection, left, uuid.uuid4().hex)
        connection.execute(delete(table(Step)).where(left))
        for held in OF_RUNS:
            theirs = (held.c.run_id == run["id"]) & goes_with_run(held)
            connection.execute(delete(held).where(theirs))


def goes_with_run(held: Any) -> ColumnElement[bool]:
    """The rows of a table of :data:`OF_RUNS` that go with their run."""
    if held is MemoryRow.__table__:
        return _OWN_MEMORIES
    return _OWN_ENTRIES if held is Entry.__table__ else true()
