"""What steps need of PostgreSQL, as one prepared statement for all writes of a kind.

A transaction of its own costs a lone write four round trips: BEGIN, the statement for steps, the
one for runs, COMMIT. One statement is a transaction by itself and takes one; prepared, it is parsed
once a connection, and given arrays, it serves a batch of any size. Each writes for a step what the
ordinary way (claims.py, finishes.py) writes, or nothing: then the ordinary way finds out why.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from app.journal.engine import CLOCK_POSTGRESQL as CLOCK


@dataclass(frozen=True, slots=True)
class Prepared:
    """A statement that a connection is told once."""

    name: str
    types: tuple[str, ...]  # of $1, $2, …
    body: str
    answers: bool = False  # with the ids of the steps that it wrote; the others just write

    @property
    def command(self) -> str:
        """What tells a connection."""
        return f"PREPARE {self.name} ({', '.join(self.types)}) AS {self.body}"

    @property
    def call(self) -> str:
        """What runs it then, with the driver's placeholders."""
        return f"EXECUTE {self.name} ({', '.join(['%s'] * len(self.types))})"


@dataclass(frozen=True, slots=True)
class Shot:
    """Writes of one kind, ready to be sent."""

    prepared: Prepared
    values: tuple[Any, ...]
    ids: Sequence[str] = ()  # the step of each write, where the statement answers
    result: Callable[[int], Any] = lambda _: None  # of the write at this place, if it was written


_TEXTS, _INTEGERS = "text[]", "integer[]"

CLAIM = Prepared(
    "claim_steps",
    (
        *(_TEXTS, _TEXTS, _TEXTS, _TEXTS, _INTEGERS, _TEXTS, _TEXTS, _TEXTS, _INTEGERS),
        *(_TEXTS, _TEXTS, _INTEGERS, "double precision[]", "text", "double precision"),
    ),
    f"""
    WITH made AS (
        INSERT INTO steps (id, run_id, parent_id, member, position, task, agent, queue, priority,
            payload, envelope, max_attempts, deadline_at, worker_id, wake_at, ready_at, created_at,
            started_at, state, attempts, token, round, wakes, cancel_requested, settled)
        SELECT v.id, v.run_id, v.parent_id, v.member, v.position, v.task, v.agent, v.queue,
            v.priority, CAST(v.payload AS json), CAST(v.envelope AS json), v.max_attempts,
            {CLOCK} + v.timeout_s, $14, {CLOCK} + $15, {CLOCK}, {CLOCK},
            {CLOCK}, 'running', 1, 1, 0, 0, false, false
        FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
            AS v(id, run_id, parent_id, member, position, task, agent, queue, priority, payload,
            envelope, max_attempts, timeout_s)
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

# The server keeps the plan of a prepared statement, also one made for tables of a few rows. So that
# it is right for large ones, none is read but by its primary key: rows are joined with the arrays
# *and* looked up by them (else a join may read the whole index), and a step's state is compared
# with a value that is given (else a partial index on that state will do).

#: Of roots that succeeded: nothing is to be counted, and nothing to be undone.
FINISH = Prepared(
    "finish_steps",
    (_TEXTS, _INTEGERS, "text", _TEXTS, "double precision", _TEXTS),
    f"""
    WITH ended AS (
        UPDATE steps SET state = 'succeeded',
            outcome = CAST($4[array_position($1, CAST(id AS text))] AS json),
            finished_at = {CLOCK}, wake_at = {CLOCK} + $5, worker_id = NULL, wakes = 0,
            settled = false
        WHERE id = ANY ($1) AND token = $2[array_position($1, CAST(id AS text))] AND state = $3
            AND parent_id IS NULL
        RETURNING id
    ), run AS (
        UPDATE runs SET state = 'succeeded', finished_at = {CLOCK},
            usage = CAST($6[array_position($1, CAST(id AS text))] AS json)
        WHERE id = ANY (ARRAY(SELECT id FROM ended))
    )
    SELECT id FROM ended
    """,  # noqa: S608 - of our own constant
    answers=True,
)

#: The same for one: without arrays to be joined it takes a third less.
FINISH_ONE = Prepared(
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
    "start_calls",
    (_TEXTS, _INTEGERS, _INTEGERS, _TEXTS, _TEXTS, _TEXTS),
    f"""
    INSERT INTO calls (step_id, seq, token, name, fingerprint, idempotency_key, started_at)
    SELECT v.step_id, v.seq, v.token, v.name, v.fingerprint, v.key, {CLOCK}
    FROM unnest($1, $2, $3, $4, $5, $6) AS v(step_id, seq, token, name, fingerprint, key)
    ON CONFLICT DO NOTHING
    """,  # noqa: S608 - of our own constant
)

FINISH_CALL = Prepared(
    "finish_calls",
    (_TEXTS, _INTEGERS, _INTEGERS, _TEXTS, _TEXTS),
    f"""
    UPDATE calls SET finished_at = {CLOCK}, answer = CAST(v.answer AS json),
        error = CAST(v.error AS json)
    FROM unnest($1, $2, $3, $4, $5) AS v(step_id, seq, token, answer, error)
    WHERE calls.step_id = ANY ($1)
        AND calls.step_id = v.step_id AND calls.seq = v.seq AND calls.token = v.token
    """,  # noqa: S608 - of our own constant
)

SETTLE = Prepared("settle_steps", (_TEXTS,), "UPDATE steps SET settled = true WHERE id = ANY ($1)")
