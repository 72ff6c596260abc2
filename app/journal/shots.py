"""What a step needs of PostgreSQL, as one prepared statement for each write.

A transaction of its own costs a lone write four round trips: BEGIN, the statement for steps, the
one for runs, COMMIT. One statement is a transaction by itself and takes one; prepared, it is parsed
once a connection. Each writes what the ordinary way (claims.py, finishes.py) writes for one step,
or nothing: then the ordinary way finds out why.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from app.journal.engine import CLOCK_POSTGRESQL as CLOCK

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Prepared:
    """A statement that a connection is told once."""

    name: str
    types: tuple[str, ...]  # of $1, $2, …
    body: str
    answers: bool = False  # it gives a row if it wrote something; the others give none

    @property
    def command(self) -> str:
        """What tells a connection."""
        return f"PREPARE {self.name} ({', '.join(self.types)}) AS {self.body}"

    @property
    def call(self) -> str:
        """What runs it then, with the driver's placeholders."""
        return f"EXECUTE {self.name} ({', '.join(['%s'] * len(self.types))})"


@dataclass(frozen=True, slots=True)
class Shot(Generic[R]):
    """One write, ready to be sent."""

    prepared: Prepared
    values: tuple[Any, ...]
    result: Callable[[], R]  # if it wrote


CLAIM = Prepared(
    "claim_step",
    (
        *("text", "text", "text", "text", "integer", "text", "text", "text", "integer"),
        *("json", "json", "integer", "double precision", "text", "double precision"),
    ),
    f"""
    WITH made AS (
        INSERT INTO steps (id, run_id, parent_id, member, position, task, agent, queue, priority,
            payload, envelope, max_attempts, deadline_at, worker_id, wake_at, ready_at, created_at,
            started_at, state, attempts, token, round, wakes, cancel_requested, settled)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9,
            $10, $11, $12, {CLOCK} + $13, $14, {CLOCK} + $15, {CLOCK}, {CLOCK},
            {CLOCK}, 'running', 1, 1, 0, 0, false, false)
        ON CONFLICT DO NOTHING
        RETURNING id, parent_id, task, created_at
    ), run AS (
        INSERT INTO runs (id, task, state, created_at, compensable)
        SELECT id, task, 'open', created_at, false FROM made WHERE parent_id IS NULL
        ON CONFLICT DO NOTHING
    )
    SELECT id FROM made
    """,  # noqa: S608 - of our own constant
    answers=True,
)

#: Of a root that succeeded: nothing is to be counted, and nothing to be undone. The state that it
#: has to be in is given, so that the plan is kept with the primary key and not with a partial index
#: on that state, however few rows that one had.
FINISH = Prepared(
    "finish_step",
    ("text", "integer", "text", "json", "double precision", "json"),
    f"""
    WITH ended AS (
        UPDATE steps SET state = 'succeeded', outcome = $4, finished_at = {CLOCK},
            wake_at = {CLOCK} + $5, worker_id = NULL, wakes = 0, settled = false
        WHERE id = $1 AND token = $2 AND state = $3 AND parent_id IS NULL
        RETURNING id
    ), run AS (
        UPDATE runs SET state = 'succeeded', finished_at = {CLOCK}, usage = $6
        WHERE id = $1 AND EXISTS (SELECT FROM ended)
    )
    SELECT id FROM ended
    """,  # noqa: S608 - of our own constant
    answers=True,
)

START_CALL = Prepared(
    "start_call",
    ("text", "integer", "integer", "text", "text", "text"),
    f"""
    INSERT INTO calls (step_id, seq, token, name, fingerprint, idempotency_key, started_at)
    VALUES ($1, $2, $3, $4, $5, $6, {CLOCK})
    ON CONFLICT DO NOTHING
    """,  # noqa: S608 - of our own constant
)

FINISH_CALL = Prepared(
    "finish_call",
    ("text", "integer", "integer", "json", "json"),
    f"""
    UPDATE calls SET finished_at = {CLOCK}, answer = $4, error = $5
    WHERE step_id = $1 AND seq = $2 AND token = $3
    """,  # noqa: S608 - of our own constant
)

SETTLE = Prepared(
    "settle_step",
    ("text",),
    "UPDATE steps SET settled = true WHERE id = $1",
)
