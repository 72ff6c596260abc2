"""Filling the journal with finished rows: copies, under new ids, of what a worker has done."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    Connection,
    Engine,
    String,
    Table,
    cast,
    event,
    func,
    insert,
    literal,
    literal_column,
    select,
    text,
)

from app.journal.schema.engine import connect
from app.journal.schema.models import Call, Join, Run, Step, table

#: Columns that hold ids, in every table of a run.
_IDS = {"id", "run_id", "parent_id", "step_id"}
#: Steps that one transaction inserts: the worker's own writes wait no longer than that.
_BATCH = 5_000


def fill(database_url: str, rows: int) -> None:
    """Add finished runs until there are ``rows`` steps more than now."""
    engine = connect(database_url)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _give_md5)
    try:
        steps, runs = _settled(engine)
        copies = rows // len(steps)
        at_once = max(1, _BATCH // len(steps))
        for first in range(0, copies, at_once):
            with engine.begin() as connection:
                _copy(connection, steps, runs, range(first, min(first + at_once, copies)))
        _tidy(engine)
    finally:
        engine.dispose()


def _give_md5(connection: Any, _: Any) -> None:
    def md5(value: str | None) -> str | None:
        return None if value is None else hashlib.md5(value.encode()).hexdigest()  # noqa: S324

    connection.create_function("md5", 1, md5, deterministic=True)


def _settled(engine: Engine) -> tuple[Sequence[str], Sequence[str]]:
    """The ids of the steps and the runs that there are, once nothing is left to do for them."""
    steps, runs = table(Step), table(Run)
    while True:
        with engine.connect() as connection:
            if not connection.execute(select(steps.c.id).where(~steps.c.settled)).first():
                found = connection.execute(select(steps.c.id)).scalars().all()
                return found, connection.execute(select(runs.c.id)).scalars().all()
        time.sleep(0.1)


def _copy(
    connection: Connection, steps: Sequence[str], runs: Sequence[str], numbers: range
) -> None:
    for model, key, ids in (
        (Run, "id", runs),
        (Step, "id", steps),
        (Call, "step_id", steps),
        (Join, "step_id", steps),
    ):
        connection.execute(_copies(table(model), key, ids, numbers))


def _copies(source: Table, key: str, ids: Sequence[str], numbers: range) -> Any:
    """Insert a copy of each of these rows for each number."""
    series = select(literal(numbers.start).label("n")).cte("series", recursive=True)
    series = series.union_all(
        select((series.c.n + 1).label("n")).where(series.c.n < numbers.stop - 1)
    )
    number = cast(series.c.n, String)
    columns = [
        func.md5(column + literal_column("'-'") + number) if column.name in _IDS else column
        for column in source.c
    ]
    rows = select(*columns).select_from(source.join(series, literal(value=True)))
    return insert(source).from_select(
        [column.name for column in source.c], rows.where(source.c[key].in_(ids))
    )


def _tidy(engine: Engine) -> None:
    """Do, before anything is timed, what the database does by itself after such a load."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("VACUUM ANALYZE"))
            connection.execute(text("CHECKPOINT"))
        else:  # else the system writes hundreds of megabytes to the disk meanwhile
            raw = connection.connection.driver_connection
            assert raw is not None
            raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
