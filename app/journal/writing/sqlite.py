"""SQLite's fast path: one or two statements for all writes of a kind.

The rows come as JSON. With parameters for each row the driver would hand Python over to other
threads, and wait to get it back, for each one: under load that was what a writer did.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.engine import Connection

from app.journal.schema.engine import read_clock
from app.journal.schema.new_steps import NAMES, claimed, insert_into_runs, insert_into_steps, words
from app.journal.writing import prepared
from app.journal.writing.prepared import Prepared, Shot, Written
from app.journal.writing.sending import send
from app.journal.writing.sqlite_members import WAYS, AmissError, encode, value


@dataclass(frozen=True, slots=True)
class Statements:
    """The statements for a shot; the first one of a kind that answers has to write every row.

    ``{n}`` stands for the n-th of a row's values, ``:one``, ``:two`` and ``:three`` for what all
    have in common, in the order in which the shot has them, and ``:at`` for the time. Those whose
    last one ``returns`` rows, their ids first, may leave some: those are not written.
    """

    like: Prepared
    texts: tuple[str, ...]
    returns: bool = False

    def __post_init__(self) -> None:
        places = [value(n) for n in range(len(self.like.types))]
        object.__setattr__(self, "texts", tuple(t.format(*places) for t in self.texts))


#: Of a run that is over, and whose root has just been made: the table refuses its new state.
_REMAINS = """runs.state <> 'open'
    AND EXISTS (SELECT 1 FROM steps WHERE steps.id = runs.id AND steps.finished_at IS NULL)"""


def _making(like: Prepared, leased: str, own: dict[str, str]) -> Statements:
    given = {name: f"{{{n}}}" for n, name in enumerate(NAMES)}
    row = words(
        given,
        at=":at",
        wake_grace_s=":two",
        fixed={"worker_id": ":one", **own},
    )
    return Statements(
        like,
        (
            f"""
            {insert_into_steps(row)}
            FROM json_each(:rows) AS v WHERE {leased} ON CONFLICT DO NOTHING
            """,
            f"""
            {insert_into_runs(given, at=":at")}
            FROM json_each(:rows) AS v WHERE {given["parent_id"]} IS NULL
            ON CONFLICT DO UPDATE SET state = NULL WHERE {_REMAINS}
            """,
        ),
    )


_LEASED = "EXISTS (SELECT 1 FROM workers WHERE id = :one AND lease_until > :at)"
_CLAIM = _making(prepared.CLAIM, _LEASED, claimed(":at"))
_INSERT = _making(prepared.INSERT, "true", {})
_ACCEPT = _making(prepared.ACCEPT, "true", {})
_TAKE = Statements(
    prepared.TAKE,
    (
        f"""
        UPDATE steps SET state = 'running', attempts = attempts + 1, token = token + 1,
            worker_id = :one, wakes = 0, started_at = coalesce(started_at, :at)
        WHERE id IN (SELECT {{0}} FROM json_each(:rows) AS v)
            AND state = :two AND ready_at <= :at + :three AND attempts < max_attempts
            AND NOT cancel_requested AND {_LEASED}
        RETURNING id, token, attempts, run_id, parent_id, member, task, agent, queue, priority,
            payload, max_attempts, deadline_at - :at,
            (SELECT policy FROM joins WHERE step_id = steps.parent_id
            AND max_concurrent IS NULL), :at - started_at, tenant,
            :at - ready_at, untrusted
        """,  # noqa: S608 - of our own constants
    ),
    returns=True,
)
_FINISH = Statements(
    prepared.FINISH,
    (
        """
        UPDATE steps SET state = 'succeeded', outcome = {2}, finished_at = :at,
            wake_at = :at + :two, worker_id = NULL, wakes = 0, settled = 0
        FROM json_each(:rows) AS v
        WHERE steps.id = {0} AND steps.token = {1} AND steps.state = :one
            AND steps.parent_id IS NULL AND NOT steps.remembers
        """,
        """
        UPDATE runs SET state = 'succeeded', finished_at = :at, usage = {3}
        FROM json_each(:rows) AS v WHERE runs.id = {0}
        """,
    ),
)
_FINISH_FLOWS = Statements(
    prepared.FINISH_FLOWS,
    (
        *_FINISH.texts,
        """
        INSERT INTO entries (tenant, stream, seq, kind, run_id, data, size, tokens, at, xid)
        SELECT {4}, {5}, max(
                coalesce((SELECT e.seq + 1 FROM entries AS e WHERE e.tenant = {4}
                    AND e.stream = {5} ORDER BY e.seq DESC LIMIT 1), 0),
                coalesce((SELECT s.length FROM stream_ends AS s WHERE s.tenant = {4}
                    AND s.stream = {5}), 0)
            ) + l.key, json_extract(l.value, '$[0]'), {0}, json_extract(l.value, '$[1]'),
            json_extract(l.value, '$[2]'), 0, :at, 0
        FROM json_each(:rows) AS v, json_each({6}) AS l
        """,
    ),
)
_CLAIMED = """{0} AND steps.token = {1} AND steps.state = :one
            AND NOT steps.cancel_requested"""
_POSTPONE = Statements(
    prepared.POSTPONE,
    (
        f"""
        INSERT INTO events (run_id, step_id, at, kind, data)
        SELECT steps.run_id, steps.id, :at, {{7}}, {{8}}
        FROM json_each(:rows) AS v CROSS JOIN steps
        WHERE {{7}} IS NOT NULL AND steps.id = {_CLAIMED}
        """,  # noqa: S608 - of our own constants
        f"""
        UPDATE steps SET state = 'ready', worker_id = NULL, ready_at = :at + {{3}},
            wake_at = :at + {{4}}, wakes = 0, attempts = attempts - {{5}}, error = {{2}},
            deadline_at = coalesce(deadline_at, :at + {{6}})
        FROM json_each(:rows) AS v WHERE steps.id = {_CLAIMED}
        RETURNING id
        """,  # noqa: S608 - of our own constants
    ),
    returns=True,
)


def _starting(like: Prepared, more: dict[str, int]) -> Statements:
    """Build the statement for calls, with the places of ``more`` columns among their values."""
    names = "".join(f", {name}" for name in more)
    values = "".join(f", {{{place}}}" for place in more.values())
    return Statements(
        like,
        (
            f"""
            INSERT INTO calls (step_id, seq, token, name, fingerprint, idempotency_key{names},
                started_at)
            SELECT {{0}}, {{1}}, {{2}}, {{3}}, {{4}}, {{5}}{values}, CASE
                WHEN (SELECT token FROM steps WHERE id = {{0}} AND state = :one) = {{2}}
                    AND ({{2}} = 1 OR NOT EXISTS (
                        SELECT 1 FROM calls AS c
                        WHERE c.step_id = {{0}} AND c.fingerprint = {{4}}
                            AND c.finished_at IS NOT NULL
                            AND (c.error IS NULL OR {prepared.TOO_LARGE})
                    ))
                THEN :at END
            FROM json_each(:rows) AS v WHERE true ON CONFLICT DO NOTHING
            """,  # noqa: S608 - of our own constant
        ),
    )


_START_CALL = _starting(prepared.START_CALL, {})
_START_RESERVED = _starting(
    prepared.START_RESERVED, {"reserved_nano_usd": 6, "counted_tokens": 7, "accounts": 8}
)
_FINISH_CALL = Statements(
    prepared.FINISH_CALL,
    (
        """
        UPDATE calls SET finished_at = :at, answer = {3}, error = {4}, cost_usd = {5}
        FROM json_each(:rows) AS v
        WHERE calls.step_id = {0} AND calls.seq = {1} AND calls.token = {2}
        """,
    ),
)
_FINISH_RESERVED = Statements(
    prepared.FINISH_RESERVED,
    (
        """
        INSERT INTO spend (account, starts_at, writer, ends_at, nano_usd, tokens, calls)
        SELECT json_extract(a.value, '$[0]'), json_extract(a.value, '$[1]'), :one,
            max(json_extract(a.value, '$[2]')), sum(nano_usd), sum(tokens), sum(calls)
        FROM (
            SELECT {9} AS accounts, sum({6}) AS nano_usd, sum({7}) AS tokens, sum({8}) AS calls
            FROM json_each(:rows) AS v, calls
            WHERE calls.step_id = {0} AND calls.seq = {1} AND calls.token = {2}
                AND calls.finished_at IS NULL
            GROUP BY 1
        ) AS sums, json_each(sums.accounts) AS a
        GROUP BY 1, 2
        ON CONFLICT (account, starts_at, writer) DO UPDATE SET
            nano_usd = spend.nano_usd + excluded.nano_usd,
            tokens = spend.tokens + excluded.tokens, calls = spend.calls + excluded.calls
        """,
        """
        UPDATE calls SET finished_at = :at, answer = {3}, error = {4}, cost_usd = {5},
            reserved_nano_usd = NULL, counted_tokens = CASE WHEN {8} > 0 THEN {7} END
        FROM json_each(:rows) AS v
        WHERE calls.step_id = {0} AND calls.seq = {1} AND calls.token = {2}
            AND calls.finished_at IS NULL
        """,
    ),
)
_SETTLE = Statements(
    prepared.SETTLE,
    (
        """
        UPDATE steps SET settled = 1,
            envelope = CASE WHEN state = 'succeeded' THEN NULL ELSE envelope END
        FROM json_each(:rows) AS v
        WHERE steps.id = {0} AND steps.token = coalesce({1}, steps.token)
        """,
    ),
)
#: Statements by the names of what they do in PostgreSQL.
OF = {
    s.like.name: s
    for s in (
        *(_CLAIM, _TAKE, _INSERT, _FINISH, _FINISH_FLOWS, _START_CALL, _START_RESERVED, _POSTPONE),
        *(_FINISH_CALL, _FINISH_RESERVED, _SETTLE),
    )
} | {
    prepared.CLAIM_ONE.name: _CLAIM,
    prepared.INSERT_ONE.name: _INSERT,
    prepared.ACCEPT.name: _ACCEPT,
    prepared.ACCEPT_ONE.name: _ACCEPT,
    prepared.FINISH_ONE.name: _FINISH,
}


def fire(connection: Connection, volley: Sequence[Shot]) -> Written:
    """Run all shots in the transaction of ``connection``; return the rows of those that answer.

    Raises:
        AmissError
    """
    at = read_clock(connection)
    written: dict[str, Sequence[Any]] = {}
    for shot in volley:
        if (way := WAYS.get(shot.prepared.name)) is not None:
            written |= way(connection, at, shot)
            continue
        statements = OF[shot.prepared.name]
        values = {"at": at, **_values(statements.like, shot)}
        results = [send(connection, t, values) for t in statements.texts]
        if statements.returns:
            written |= {row[0]: row for row in results[-1].rows}
            continue
        if shot.prepared.answers and results[0].written != len(shot.ids):
            raise AmissError
        written |= {step_id: (step_id,) for step_id in shot.ids}
    return written


def _values(like: Prepared, shot: Shot) -> dict[str, Any]:
    columns = [
        value if isinstance(value, list) else [value]
        for value, kind in zip(shot.values, like.types, strict=True)
        if kind.endswith("[]")
    ]
    common = [
        value
        for value, kind in zip(shot.values, like.types, strict=True)
        if not kind.endswith("[]")
    ]
    rows = encode(list(zip(*columns, strict=True)))
    return {"rows": rows, **dict(zip(("one", "two", "three"), common, strict=False))}
