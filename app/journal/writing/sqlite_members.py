"""SQLite's fast path between a step and its members: expansions, and the ends of members.

Each takes a few statements, whatever its size, of which the later ones need what the first one
found. Both write for a step what PostgreSQL's statements write (prepared.py), or nothing.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy.engine import Connection

from app.journal.schema.new_steps import INHERITED, OF_MEMBERS, insert_into_steps, words
from app.journal.writing import prepared
from app.journal.writing.prepared import Shot, Written
from app.journal.writing.sending import send


class AmissError(Exception):
    """A row was not as expected: the transaction has to be rolled back."""


#: The text of JSON that a statement reads its rows from.
encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def value(place: int) -> str:
    """Return the words for the value at this place of a row."""
    return f"json_extract(v.value, '$[{place}]')"


_WAIT = f"""
    UPDATE steps SET state = 'waiting', worker_id = NULL, attempts = 0
    FROM json_each(:steps) AS v
    WHERE steps.id = {value(0)} AND steps.token = {value(1)} AND steps.state = :running
        AND NOT steps.cancel_requested
        AND NOT EXISTS (SELECT 1 FROM joins WHERE step_id = {value(0)})
    RETURNING id, envelope
"""  # noqa: S608 - of our own words
_OPEN = f"""
    INSERT INTO joins (step_id, round, policy, keep, expected, done, succeeded, state, deadline_at)
    SELECT {value(0)}, 1, {value(2)}, {value(3)}, {value(4)}, 0, 0, 'open', :at + {value(5)}
    FROM json_each(:steps) AS v
"""  # noqa: S608 - of our own words
_MEMBER = words(
    {name: value(n + 1) for n, name in enumerate(OF_MEMBERS)} | {n: f"w.{n}" for n in INHERITED},
    at=":at",
    wake_grace_s=":grace",
    fixed={"parent_id": "w.id", "round": "1"},
)
_MAKE = f"""
    {insert_into_steps(_MEMBER)}
    FROM json_each(:members) AS v CROSS JOIN steps AS w WHERE w.id = {value(0)}
"""
#: Values of a step that expands; then come those that all have in common, and those of members.
_OF_STEP = 6


def expand(connection: Connection, at: float, shot: Shot) -> Written:
    """Let steps wait for members that they had none of before.

    Raises:
        AmissError: one of them is not as it was claimed.
    """
    of_steps, (running, grace) = shot.values[:_OF_STEP], shot.values[_OF_STEP : _OF_STEP + 2]
    rows = _rows(of_steps)
    about = {"steps": rows, "running": running}
    found = send(connection, _WAIT, about)
    written: dict[str, Sequence[Any]] = {row[0]: row for row in found.rows}
    if len(written) < len(shot.ids):
        raise AmissError
    send(connection, _OPEN, {"steps": rows, "at": at})
    members = _rows(shot.values[_OF_STEP + 2 :])
    send(connection, _MAKE, {"members": members, "at": at, "grace": grace})
    return written


class _Join(NamedTuple):
    """A join that is open, as it is looked at before ends are counted in it."""

    step_id: str
    round: int
    policy: str
    expected: int
    done: int
    succeeded: int


_HELD = f"""
    SELECT {", ".join(_Join._fields)} FROM joins
    WHERE step_id IN (SELECT v.value FROM json_each(:parents) AS v)
        AND state = 'open' AND max_concurrent IS NULL
"""  # noqa: S608 - of our own words
_END = f"""
    UPDATE steps SET state = {value(3)}, outcome = {value(4)}, finished_at = :at,
        wake_at = :at + :grace, worker_id = NULL, wakes = 0, settled = 1
    FROM json_each(:rows) AS v
    WHERE steps.id = {value(0)} AND steps.token = {value(1)} AND steps.state = :running
        AND coalesce(steps.parent_id, '') = {value(2)} AND steps.round = {value(5)}
    RETURNING id, parent_id, state
"""  # noqa: S608 - of our own words
_COUNT = f"""
    UPDATE joins SET done = done + {value(1)}, succeeded = succeeded + {value(2)},
        state = CASE WHEN done + {value(1)} >= expected THEN 'fired' ELSE 'open' END
    FROM json_each(:rows) AS v WHERE joins.step_id = {value(0)}
    RETURNING step_id, state
"""  # noqa: S608 - of our own words
_WAKE = """
    UPDATE steps SET state = 'ready', ready_at = :at, wake_at = :at + :grace, wakes = 0,
        attempts = 0
    WHERE id IN (SELECT v.value FROM json_each(:fired) AS v) AND state = 'waiting'
    RETURNING id, task, queue, priority, run_id, parent_id, agent, payload, envelope, tenant
"""
#: Values of a wake, which are none for a member whose end fires nothing.
_NO_WAKE = (None,) * 10


def finish_members(connection: Connection, at: float, shot: Shot) -> Written:
    """End members of whose joins nothing is to be decided, count them, wake whom that lets go on.

    One member of a join that fires tells its parent's wake. Those of other joins are left.
    """
    ids, tokens, parents, states, outcomes, running, grace, _ = shot.values
    asked = _totals(zip(parents, states, strict=True))
    held = send(connection, _HELD, {"parents": encode([*asked])}).rows
    joins = [_Join(*row) for row in held]
    rounds = {join.step_id: join.round for join in joins if _counts(join, *asked[join.step_id])}
    rows = [
        (*row, rounds[row[2]])
        for row in zip(ids, tokens, parents, states, outcomes, strict=True)
        if row[2] in rounds
    ]
    if not rows:
        return {}
    times = {"at": at, "grace": grace}
    about = {"rows": encode(rows), "running": running, **times}
    ended = send(connection, _END, about).rows
    totals = [(i, *n) for i, n in _totals((row[1], row[2]) for row in ended).items()]
    counted = send(connection, _COUNT, {"rows": encode(totals)}).rows
    fired = [step_id for step_id, state in counted if state == "fired"]
    wakes: dict[str, Sequence[Any]] = {}
    if fired:
        woken = send(connection, _WAKE, {"fired": encode(fired), **times}).rows
        wakes = {row[0]: row for row in woken}
    return {row[0]: (row[0], *wakes.pop(row[1], _NO_WAKE)) for row in ended}


def _totals(ends: Any) -> dict[str, tuple[int, int]]:
    """Count ends, given as (parent, state), and the successes among them, of each parent."""
    ended, succeeded = Counter[str](), Counter[str]()
    for parent_id, state in ends:
        ended[parent_id] += 1
        succeeded[parent_id] += state == "succeeded"
    return {parent_id: (number, succeeded[parent_id]) for parent_id, number in ended.items()}


def _counts(join: _Join, ended: int, succeeded: int) -> bool:
    """Return whether ends are only counted in a join: it does not fire, or since all have ended."""
    done, good = join.done + ended, join.succeeded + succeeded
    if done > join.expected or (done == join.expected and join.round > 1):
        return False
    return (
        join.policy in {"all", "any"}
        or (join.policy == "first" and not good)
        or (join.policy == "unbroken" and done == good)
    )


def _rows(columns: Sequence[Sequence[Any]]) -> str:
    return encode(list(zip(*columns, strict=True)))


#: By the names of what they do in PostgreSQL.
WAYS = {prepared.EXPAND.name: expand, prepared.FINISH_MEMBERS.name: finish_members}
#: All that they send.
TEXTS = (_WAIT, _OPEN, _MAKE, _HELD, _END, _COUNT, _WAKE)
