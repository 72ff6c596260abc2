"""Flows that sleep, as many as are wanted: rows of one that a worker has put to sleep, copied."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection, Table, text

from app.journal.schema.models import Entry, Join, Run, Step, table
from celery_agents.contracts.flows.entries import HISTORY

_NAME = "'asleep-' || CAST(numbers.n AS text)"


def copy(connection: Connection, flow_id: str, times: int) -> None:
    """Copy a flow with its run, its join and its history, which others are not told apart from."""
    line = {"stream": f"'{HISTORY}' || {_NAME}", "run_id": _NAME, "pos": ""}
    for of, which, instead in (
        (Run, "id", {"id": _NAME}),
        (Step, "id", {"id": _NAME, "run_id": _NAME}),
        (Join, "step_id", {"step_id": _NAME}),
        (Entry, "run_id", line),
    ):
        insert = _copying(table(of), which, instead)
        connection.execute(text(insert), {"flow_id": flow_id, "times": times})


def _copying(of: Table, which: str, instead: Mapping[str, str]) -> str:
    """Build the statement for one table: with some columns' values, and without the empty ones."""
    values = {c.name: instead.get(c.name, f"o.{c.name}") for c in of.columns}
    values = {name: value for name, value in values.items() if value}
    return f"""
        WITH RECURSIVE numbers(n) AS (
            SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < :times
        )
        INSERT INTO {of.name} ({", ".join(values)})
        SELECT {", ".join(values.values())} FROM {of.name} AS o, numbers WHERE o.{which} = :flow_id
    """  # noqa: S608 - of our own names
