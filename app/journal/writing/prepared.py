"""PostgreSQL's fast path: one prepared statement for all writes of a kind.

A transaction of its own costs a lone write four round trips: BEGIN, the statement for steps, the
one for runs, COMMIT. One statement is a transaction by itself and takes one; prepared, it is parsed
once a connection, and given arrays, it serves a batch of any size. Each writes for a step what the
ordinary way (claims.py, outcomes.py) writes, or nothing: then the ordinary way finds out why.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from app.journal.schema import new_steps
from app.journal.schema.engine import CLOCK_POSTGRESQL as CLOCK
from app.journal.schema.new_steps import (
    GIVEN,
    INHERITED,
    NAMES,
    OF_MEMBERS,
    OF_RUN,
    insert_into_runs,
    insert_into_steps,
    words,
)
from celery_agents.errors import AnswerTooLargeError
from celery_agents.light import light


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """A statement that a connection prepares once."""

    name: str
    types: tuple[str, ...]  # of $1, $2, …
    body: str
    answers: bool = False  # with a row for each step that it wrote, its id first
    joined: bool = False  # its arrays, with rows of a table
    #: Executed ahead of it in the same transaction: it sees what these waited for. Their arguments
    #: come before its own.
    before: tuple[Prepared, ...] = ()

    @property
    def command(self) -> str:
        """The statement that prepares it on a connection."""
        return f"PREPARE {self.name} ({', '.join(self.types)}) AS {self.body}"

    @property
    def call(self) -> str:
        """The statements that execute it, with the driver's placeholders."""
        own = f"EXECUTE {self.name} ({', '.join(['%s'] * len(self.types))})"
        return "; ".join([*(one.call for one in self.before), own])


@light(frozen=True, slots=True)
class Shot:
    """Writes of one kind, as arguments of a prepared statement."""

    prepared: Prepared
    values: tuple[Any, ...]
    ids: Sequence[str] = ()  # the step of each write, where the statement answers
    #: Of the write at this place, whose row this is, if it was written.
    result: Callable[[int, Sequence[Any]], Any] = lambda _place, _row: None


#: What shots that answer wrote: the row of each step by its id.
Written = dict[str, Sequence[Any]]

_TEXTS, _INTEGERS, _FLOATS = "text[]", "integer[]", "double precision[]"
_BIGINTS = "bigint[]"


#: Whether a worker has its lease: one that lapsed claims nothing, since others take that from it.
LEASED = f"EXISTS (SELECT FROM workers WHERE id = {{}} AND lease_until > {CLOCK})"


def _making(
    name: str, *, claimed: bool = False, one: bool = False, answers: bool = False
) -> Prepared:
    """Build the statement that makes missing rows: claimed at once, or ready to be claimed.

    After the columns come the worker that claims, and the seconds until recovery wakes them.
    """
    columns = [f"${n + 1}" for n in range(len(GIVEN))]
    worker, grace = (f"${len(GIVEN) + n}" for n in (1, 2))
    row = words(
        dict(zip(NAMES, columns, strict=True)) if one else {n: f"v.{n}" for n in NAMES},
        at=CLOCK,
        wake_grace_s=grace,
        cast=True,
        fixed={"worker_id": worker, **(new_steps.claimed(CLOCK) if claimed else {})},
    )
    rows = "" if one else f"FROM unnest({', '.join(columns)}) AS v({', '.join(NAMES)})"
    return Prepared(
        name,
        (*(g.kind if one else f"{g.kind}[]" for g in GIVEN), "text", "double precision"),
        f"""
        WITH made AS (
            {insert_into_steps(row)}
            {rows}
            {f"WHERE {LEASED.format(worker)}" if claimed else ""}
            ON CONFLICT DO NOTHING
            RETURNING parent_id, created_at, {", ".join(OF_RUN)}
        ), run AS (
            {insert_into_runs({name: name for name in OF_RUN}, at="created_at")}
            FROM made WHERE parent_id IS NULL
        )
        SELECT id FROM made
        """,  # noqa: S608 - of our own constants
        answers=claimed or answers,
    )


CLAIM = _making("claim_steps", claimed=True)
INSERT = _making("insert_steps")
#: Whether a run that is accepted is a new one is told.
ACCEPT = _making("accept_steps", answers=True)
#: The same for one: without arrays to be read it takes a quarter less.
CLAIM_ONE = _making("claim_step", claimed=True, one=True)
INSERT_ONE = _making("insert_step", one=True)
ACCEPT_ONE = _making("accept_step", one=True, answers=True)

#: Of steps that stand in the journal and are due; one that another worker held is not among them.
#: Rows that somebody has locked are left to the ordinary way, as in EXPAND: who holds several steps
#: and no join of theirs must not wait for another one (see locks.py).
TAKE = Prepared(
    "take_steps",
    (_TEXTS, "text", "text", "double precision"),
    f"""
    UPDATE steps SET state = 'running', attempts = attempts + 1, token = token + 1,
        worker_id = $2, wakes = 0, started_at = coalesce(started_at, {CLOCK})
    WHERE id = ANY (ARRAY(
            SELECT id FROM steps WHERE id = ANY ($1) AND state = $3
            FOR NO KEY UPDATE SKIP LOCKED
        ))
        AND state = $3 AND ready_at <= {CLOCK} + $4 AND attempts < max_attempts
        AND NOT cancel_requested AND {LEASED.format("$2")}
    RETURNING id, token, attempts, run_id, parent_id, member, task, agent, queue, priority,
        CAST(payload AS text), max_attempts, deadline_at - {CLOCK},
        (SELECT policy FROM joins WHERE step_id = steps.parent_id
            AND max_concurrent IS NULL), {CLOCK} - started_at, tenant,
        {CLOCK} - ready_at, untrusted
    """,  # noqa: S608 - of our own constant
    answers=True,
)

# The server keeps the plan of a prepared statement, also one made for tables of a few rows. So that
# it is right for large ones, none is read but by its primary key: rows are joined with the arrays
# *and* looked up by them (else a join may read the whole index), and a step's state is compared
# with a value that is given, and its parent with COALESCE (else a partial index on them will do).

#: Of roots that succeeded: nothing is to be counted, and nothing to be undone.
_FINISH = f"""
    WITH ended AS (
        UPDATE steps SET state = 'succeeded',
            outcome = CAST($4[array_position($1, CAST(id AS text))] AS json),
            finished_at = {CLOCK}, wake_at = {CLOCK} + $5, worker_id = NULL, wakes = 0,
            settled = false
        WHERE id = ANY ($1) AND token = $2[array_position($1, CAST(id AS text))] AND state = $3
            AND parent_id IS NULL AND NOT remembers
        RETURNING id
    ), run AS (
        UPDATE runs SET state = 'succeeded', finished_at = {CLOCK},
            usage = CAST($6[array_position($1, CAST(id AS text))] AS json)
        WHERE id = ANY (ARRAY(SELECT id FROM ended))
    )
    """  # noqa: S608 - of our own constant
_OF_ROOTS = (_TEXTS, _INTEGERS, "text", _TEXTS, "double precision", _TEXTS)
FINISH = Prepared(
    "finish_steps",
    _OF_ROOTS,
    f"{_FINISH} SELECT id FROM ended",  # noqa: S608 - of our own constant
    answers=True,
)

#: The same of flows, with the last lines of their histories: for each its tenant, its stream, and
#: those lines as JSON, each with its kind, the text of its data, and the length of that. While a
#: flow is claimed nobody else adds to its history, so the stream is not held.
FINISH_FLOWS = Prepared(
    "finish_flows",
    (*_OF_ROOTS, _TEXTS, _TEXTS, _TEXTS),
    f"""
    {_FINISH}, told AS (
        INSERT INTO entries (tenant, stream, seq, kind, run_id, data, size, tokens, at, xid)
        SELECT v.tenant, v.stream, greatest(
                coalesce((SELECT e.seq + 1 FROM entries AS e WHERE e.tenant = v.tenant
                    AND e.stream = v.stream ORDER BY e.seq DESC LIMIT 1), 0),
                coalesce((SELECT s.length FROM stream_ends AS s WHERE s.tenant = v.tenant
                    AND s.stream = v.stream), 0)
            ) + l.n - 1, l.line ->> 0, v.id, CAST(l.line ->> 1 AS json),
            CAST(l.line ->> 2 AS integer), 0, {CLOCK},
            CAST(CAST(pg_current_xact_id() AS text) AS bigint)
        FROM unnest($1, $7, $8, $9) AS v(id, tenant, stream, lines),
            LATERAL json_array_elements(CAST(v.lines AS json)) WITH ORDINALITY AS l(line, n)
        WHERE v.id = ANY (ARRAY(SELECT CAST(id AS text) FROM ended))
    )
    SELECT id FROM ended
    """,  # noqa: S608 - of our own constants
    answers=True,
)

#: A root's end alone: without arrays to be joined it takes a third less.
FINISH_ONE = Prepared(
    "finish_step",
    ("text", "integer", "text", "json", "double precision", "json"),
    f"""
    WITH ended AS (
        UPDATE steps SET state = 'succeeded', outcome = $4, finished_at = {CLOCK},
            wake_at = {CLOCK} + $5, worker_id = NULL, wakes = 0, settled = false
        WHERE id = $1 AND token = $2 AND state = $3 AND parent_id IS NULL AND NOT remembers
        RETURNING id
    ), run AS (
        UPDATE runs SET state = 'succeeded', finished_at = {CLOCK}, usage = $6
        WHERE id = $1 AND EXISTS (SELECT FROM ended)
    )
    SELECT id FROM ended
    """,  # noqa: S608 - of our own constant
    answers=True,
)

#: Of claimed steps that are tried again, with an event of it where they have one. What is
#: cancelled, or held by somebody else, is left to the ordinary way: whoever cancels locks rows
#: before it looks. After the errors come seconds until a step may be claimed, and until it is
#: woken; by how much its attempts are fewer, the seconds that are its deadline if it has none, and
#: its event.
POSTPONE = Prepared(
    "postpone_steps",
    (*(_TEXTS, _INTEGERS, "text", _TEXTS, _FLOATS, _FLOATS, _INTEGERS, _FLOATS), _TEXTS, _TEXTS),
    f"""
    WITH held AS (
        SELECT id FROM steps WHERE id = ANY ($1) FOR NO KEY UPDATE SKIP LOCKED
    ), given AS (
        UPDATE steps SET state = 'ready', worker_id = NULL, ready_at = {CLOCK} + v.delay_s,
            wake_at = {CLOCK} + v.unwoken_s, wakes = 0, attempts = attempts - v.refund,
            error = CAST(v.error AS json),
            deadline_at = coalesce(deadline_at, {CLOCK} + v.within_s)
        FROM unnest($1, $2, $4, $5, $6, $7, $8, $9, $10)
            AS v(id, token, error, delay_s, unwoken_s, refund, within_s, kind, data)
        WHERE steps.id = ANY (ARRAY(SELECT id FROM held)) AND steps.id = v.id
            AND steps.token = v.token AND steps.state = $3 AND NOT steps.cancel_requested
        RETURNING steps.id, steps.run_id, v.kind, v.data
    ), noted AS (
        INSERT INTO events (run_id, step_id, at, kind, data)
        SELECT run_id, id, {CLOCK}, kind, CAST(data AS json) FROM given WHERE kind IS NOT NULL
    )
    SELECT id FROM given
    """,  # noqa: S608 - of our own constant
    answers=True,
    joined=True,
)

_MEMBER = words(
    {n: f"m.{n}" for n in OF_MEMBERS} | {n: f"w.{n}" for n in INHERITED},
    at=CLOCK,
    wake_grace_s="$8",
    cast=True,
    fixed={"parent_id": "w.id", "round": "1"},
)

#: Of steps that had no members before; these inherit from them. What differs between the members
#: comes beside what differs between the steps.
EXPAND = Prepared(
    "expand_steps",
    (
        *(_TEXTS, _INTEGERS, _TEXTS, "boolean[]", _INTEGERS, _FLOATS, "text", "double precision"),
        *(_TEXTS, *(f"{kind}[]" for kind in OF_MEMBERS.values())),
    ),
    f"""
    WITH held AS (
        SELECT id FROM steps WHERE id = ANY ($1) FOR NO KEY UPDATE SKIP LOCKED
    ), waiting AS (
        UPDATE steps SET state = 'waiting', worker_id = NULL, attempts = 0
        FROM unnest($1, $2, $3, $4, $5, $6) AS v(id, token, policy, keep, expected, timeout_s)
        WHERE steps.id = ANY (ARRAY(SELECT id FROM held)) AND steps.id = v.id
            AND steps.token = v.token
            AND steps.state = $7 AND NOT steps.cancel_requested
            AND (SELECT j.round FROM joins AS j WHERE j.step_id = steps.id) IS NULL
        RETURNING steps.id, steps.envelope, {", ".join(f"steps.{n}" for n in INHERITED)},
            v.policy, v.keep, v.expected, v.timeout_s
    ), opened AS (
        INSERT INTO joins (step_id, round, policy, keep, expected, done, succeeded, state,
            deadline_at)
        SELECT id, 1, policy, keep, expected, 0, 0, 'open', {CLOCK} + timeout_s FROM waiting
    ), made AS (
        {insert_into_steps(_MEMBER)}
        FROM unnest($9, {", ".join(f"${n + 10}" for n in range(len(OF_MEMBERS)))})
            AS m(parent_id, {", ".join(OF_MEMBERS)}), waiting AS w
        WHERE w.id = m.parent_id
    )
    SELECT id, CAST(envelope AS text) FROM waiting
    """,  # noqa: S608 - of our own constant
    answers=True,
    joined=True,
)

#: Of members whose success needs no note for compensations, and of whose joins nothing is to be
#: decided: by these ends they do not fire, or only since all members that they ever had have ended.
#: Joins are locked before the steps, as everywhere (see locks.py): those of the runs $8 first, if
#: some are not of roots. They count what was written, in the round that the lock saw: the statement
#: has one snapshot, and a round that began while it waited is not in it. One member of a join that
#: fires tells its parent's wake.
FINISH_MEMBERS = Prepared(
    "finish_members",
    (_TEXTS, _INTEGERS, _TEXTS, _TEXTS, _TEXTS, "text", "double precision", _TEXTS),
    f"""
    WITH asked AS (
        SELECT v.parent_id, count(*) AS ended,
            count(*) FILTER (WHERE v.state = 'succeeded') AS succeeded
        FROM unnest($3, $4) AS v(parent_id, state) GROUP BY v.parent_id
    ), roots AS (
        SELECT step_id FROM joins WHERE step_id = ANY ($8) ORDER BY step_id FOR UPDATE
    ), held AS (
        SELECT j.step_id, j.round FROM asked AS a, joins AS j
        WHERE (SELECT count(*) FROM roots) >= 0 AND j.step_id = ANY ($3)
            AND j.step_id = a.parent_id AND j.state = 'open' AND j.max_concurrent IS NULL
            AND (j.done + a.ended < j.expected OR j.round = 1 AND j.done + a.ended = j.expected)
            AND (
                j.policy IN ('all', 'any')
                OR j.policy = 'first' AND j.succeeded + a.succeeded = 0
                OR j.policy = 'unbroken' AND j.done + a.ended = j.succeeded + a.succeeded
            )
        ORDER BY j.step_id FOR UPDATE OF j
    ), ended AS (
        UPDATE steps SET state = v.state, outcome = CAST(v.outcome AS json),
            finished_at = {CLOCK}, wake_at = {CLOCK} + $7, worker_id = NULL, wakes = 0,
            settled = true
        FROM unnest($1, $2, $4, $5) AS v(id, token, state, outcome)
        WHERE steps.id = ANY ($1) AND steps.id = v.id AND steps.token = v.token
            AND steps.state = $6
            AND (coalesce(steps.parent_id, ''), steps.round) IN (SELECT step_id, round FROM held)
        RETURNING steps.id, steps.parent_id, steps.round, steps.state
    ), counted AS (
        UPDATE joins SET done = joins.done + e.ended,
            succeeded = joins.succeeded + e.succeeded,
            state = CASE WHEN joins.done + e.ended >= joins.expected THEN 'fired' ELSE 'open' END
        FROM (
            SELECT parent_id, round, count(*) AS ended, min(id) AS teller,
                count(*) FILTER (WHERE state = 'succeeded') AS succeeded
            FROM ended GROUP BY parent_id, round
        ) AS e
        WHERE joins.step_id = ANY ($3) AND joins.step_id = e.parent_id
            AND joins.round = e.round AND joins.state = 'open'
        RETURNING joins.step_id, joins.state, e.teller
    ), woken AS (
        UPDATE steps SET state = 'ready', ready_at = {CLOCK}, wake_at = {CLOCK} + $7, wakes = 0,
            attempts = 0
        FROM counted
        WHERE steps.id = ANY ($3) AND steps.id = counted.step_id AND counted.state = 'fired'
            AND steps.state = 'waiting'
        RETURNING counted.teller, steps.id, steps.task, steps.queue, steps.priority, steps.run_id,
            steps.parent_id, steps.agent, CAST(steps.payload AS text) AS payload,
            CAST(steps.envelope AS text) AS envelope, steps.tenant
    )
    SELECT ended.id, w.id, w.task, w.queue, w.priority, w.run_id, w.parent_id, w.agent, w.payload,
        w.envelope, w.tenant
    FROM ended LEFT JOIN woken AS w ON w.teller = ended.id
    """,  # noqa: S608 - of our own constants
    answers=True,
    joined=True,
)

#: Of steps that run under the claim of their call, which no earlier claim has finished. For another
#: one the time of its begin is NULL, which the table refuses, and so the whole statement: it need
#: not answer, which is a round trip.
#: True for the error of a call that answered with more than is kept; its kind is written first.
#: Such a call is over as one with an answer is: made again it would be paid again, for the same.
_KIND = f'"kind":"{AnswerTooLargeError.kind}"'
TOO_LARGE = f"substr(CAST(c.error AS text), 2, {len(_KIND)}) = '{_KIND}'"


def _starting(name: str, more: dict[str, str]) -> Prepared:
    """Build the statement that writes down calls before they are made, with ``more`` columns."""
    extra = "".join(f", {column}" for column in more)
    last = 8 + len(more)
    arrays = ", ".join(f"${n}" for n in (*range(1, 7), *range(8, last)))
    return Prepared(
        name,
        (_TEXTS, _INTEGERS, _INTEGERS, _TEXTS, _TEXTS, _TEXTS, "text", *more.values()),
        f"""
        INSERT INTO calls (step_id, seq, token, name, fingerprint, idempotency_key{extra},
            started_at)
        SELECT v.step_id, v.seq, v.token, v.name, v.fingerprint, v.key{extra},
            CASE WHEN (SELECT token FROM steps WHERE id = v.step_id AND state = $7) = v.token
                AND (v.token = 1 OR NOT EXISTS (
                    SELECT FROM calls AS c
                    WHERE c.step_id = v.step_id AND c.fingerprint = v.fingerprint
                        AND c.finished_at IS NOT NULL
                        AND (c.error IS NULL OR {TOO_LARGE})
                ))
                THEN {CLOCK} END
        FROM unnest({arrays}) AS v(step_id, seq, token, name, fingerprint, key{extra})
        ON CONFLICT DO NOTHING
        """,  # noqa: S608 - of our own constants
    )


START_CALL = _starting("start_calls", {})
#: Of calls under a budget.
START_RESERVED = _starting(
    "start_reserved_calls",
    {"reserved_nano_usd": _BIGINTS, "counted_tokens": _BIGINTS, "accounts": _TEXTS},
)

FINISH_CALL = Prepared(
    "finish_calls",
    (_TEXTS, _INTEGERS, _INTEGERS, _TEXTS, _TEXTS, _FLOATS),
    f"""
    UPDATE calls SET finished_at = {CLOCK}, answer = CAST(v.answer AS json),
        error = CAST(v.error AS json), cost_usd = v.cost_usd
    FROM unnest($1, $2, $3, $4, $5, $6) AS v(step_id, seq, token, answer, error, cost_usd)
    WHERE calls.step_id = ANY ($1)
        AND calls.step_id = v.step_id AND calls.seq = v.seq AND calls.token = v.token
    """,  # noqa: S608 - of our own constant
    joined=True,
)

#: Of calls under a budget: what they cost is booked where their rows are finished, so written again
#: it is booked once. After what every end has come nano-dollars, tokens, calls, the accounts as
#: JSON, and the writer, whose rows in ``spend`` are its own.
FINISH_RESERVED = Prepared(
    "finish_reserved_calls",
    (
        *(_TEXTS, _INTEGERS, _INTEGERS, _TEXTS, _TEXTS, _FLOATS),
        *(_BIGINTS, _BIGINTS, _BIGINTS, _TEXTS, "text"),
    ),
    f"""
    WITH ended AS (
        UPDATE calls SET finished_at = {CLOCK}, answer = CAST(v.answer AS json),
            error = CAST(v.error AS json), cost_usd = v.cost_usd, reserved_nano_usd = NULL,
            counted_tokens = CASE WHEN v.calls > 0 THEN v.tokens END
        FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) AS v(step_id, seq, token, answer,
            error, cost_usd, nano_usd, tokens, calls, accounts)
        WHERE calls.step_id = ANY ($1)
            AND calls.step_id = v.step_id AND calls.seq = v.seq AND calls.token = v.token
            AND calls.finished_at IS NULL
        RETURNING v.nano_usd, v.tokens, v.calls, v.accounts
    ), sums AS (
        SELECT accounts, sum(nano_usd) AS nano_usd, sum(tokens) AS tokens, sum(calls) AS calls
        FROM ended GROUP BY accounts
    )
    INSERT INTO spend (account, starts_at, writer, ends_at, nano_usd, tokens, calls)
    SELECT a.value ->> 0, CAST(a.value ->> 1 AS bigint), $11, max(CAST(a.value ->> 2 AS bigint)),
        sum(sums.nano_usd), sum(sums.tokens), sum(sums.calls)
    FROM sums, json_array_elements(CAST(sums.accounts AS json)) AS a(value)
    GROUP BY 1, 2
    ON CONFLICT (account, starts_at, writer) DO UPDATE SET
        nano_usd = spend.nano_usd + excluded.nano_usd, tokens = spend.tokens + excluded.tokens,
        calls = spend.calls + excluded.calls
    """,  # noqa: S608 - of our own constant
    joined=True,
)

#: Of the ends that were told: a step that was requeued since has another token. What follows one
#: that succeeded has been sent, with a row of its own; one that failed may be requeued.
SETTLE = Prepared(
    "settle_steps",
    (_TEXTS, _INTEGERS),
    """
    UPDATE steps SET settled = true,
        envelope = CASE WHEN state = 'succeeded' THEN NULL ELSE envelope END
    WHERE id = ANY ($1) AND token = coalesce($2[array_position($1, CAST(id AS text))], token)
    """,
)
