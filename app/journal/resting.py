"""Roots that wait on for anything and want no members, as actors do: many in one transaction.

What :func:`app.journal.steps.expansions._expand` does for one step is done for all of them by the
same few statements. So they lock what it locks, in the one order: all joins, then all steps, each
by their ids, then streams.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, select, text, update

from agents.plan import AwaitedAny, JoinPolicy
from app.journal.actors import mailbox
from app.journal.schema import locks
from app.journal.schema.engine import now
from app.journal.schema.models import Join, Step, table
from app.journal.schema.rows import FINAL, Aftermath, Claimed, NewEntry
from app.journal.schema.upsert import insert_of
from app.journal.steps import joins
from app.journal.steps.anyhow import CANCEL, members_of
from app.journal.steps.entries import append
from celery_agents.contracts.flows.entries import HISTORY, SIGNALS
from celery_agents.contracts.outcome import State

_S, _J = table(Step).c, table(Join).c


class Rest(NamedTuple):
    """A claimed root that is to wait: for what, and what is written with that."""

    claim: Claimed
    join: JoinPolicy
    awaited: AwaitedAny
    entries: Sequence[NewEntry]


def rest(connection: Connection, rests: Sequence[Rest], rules: joins.Rules) -> list[Aftermath]:
    """Let these roots wait; those for which something has come meanwhile go on at once."""
    if not rests:
        return []
    held = _held(connection, rests)
    waiting = [one for one in rests if one.claim.token == held.get(one.claim.id)]
    if waiting:
        connection.execute(_WAIT, {"b_ids": [one.claim.id for one in waiting]})
        opened = [_opened(connection, one) for one in waiting]
        connection.execute(_opening(connection.dialect.name), opened)
    come = _come(connection, waiting)
    fired = joins.fire_any(connection, sorted(come), rules)
    if entries := [entry for one in waiting for entry in one.entries]:
        append(connection, entries)
    _shorten(connection, waiting)
    woken = {wake.id: [wake] for wake in fired.wakes}
    return [
        Aftermath(applied=held.get(claim.id) == claim.token, wakes=woken.get(claim.id, []))
        for claim, *_ in rests
    ]


def _held(connection: Connection, rests: Sequence[Rest]) -> dict[str, int]:
    """Lock the joins and rows of steps; the tokens of those that run and are not cancelled."""
    locks.lock(connection, [(one.claim.id, one.claim.run_id) for one in rests])
    rows = connection.execute(_HOLD, {"b_ids": sorted({one.claim.id for one in rests})})
    return {row.id: row.token for row in rows if row.runs}


_HOLD = (
    select(
        *(_S.id, _S.token),
        ((_S.state == State.RUNNING) & _S.cancel_requested.is_(False)).label("runs"),
    )
    .where(_S.id.in_(bindparam("b_ids", expanding=True)))
    .order_by(_S.id)
    .with_for_update(key_share=True)
)
_WAIT = (
    update(table(Step))
    .where(_S.id.in_(bindparam("b_ids", expanding=True)))
    .values(state=State.WAITING, worker_id=None, attempts=0)
)


def _opened(connection: Connection, one: Rest) -> dict[str, Any]:
    left_s = joins.left_s(connection, one.join)
    return {"b_id": one.claim.id, "b_keep": one.join.keep, "b_timeout": left_s}


@cache
def _opening(dialect: str) -> Any:
    """Open joins, or open them anew in the round that they have; as ``joins.open_round`` one."""
    row = {
        _J.step_id: bindparam("b_id"),
        _J.round: 1,
        _J.policy: "any",
        _J.keep: bindparam("b_keep"),
        _J.expected: 1,
        _J.done: 0,
        _J.succeeded: 0,
        _J.state: "open",
        _J.deadline_at: now() + bindparam("b_timeout", type_=_J.deadline_at.type),
    }
    made = insert_of(dialect, table(Join)).values(row)
    anew = {name: made.excluded[name] for name in _ANEW}
    return made.on_conflict_do_update(index_elements=[_J.step_id], set_=anew)


#: All but the number of the round; turns are none, as of each row that is made here.
_ANEW = (
    *("policy", "keep", "expected", "done", "succeeded", "state", "deadline_at"),
    "max_concurrent",
)


def _come(connection: Connection, waiting: Sequence[Rest]) -> set[str]:
    """Return the ids of those for which a member's end or a signal has come already."""
    asked = [(one.claim.id, one.awaited.open) for one in waiting if one.awaited.open]
    ends = members_of(connection, asked)
    come = {
        step_id
        for (step_id, _), rows in zip(asked, ends, strict=True)
        if any(row.state in FINAL for row in rows)
    }
    places = [
        {**_place(one, SIGNALS, one.awaited.heard), "deaf": one.awaited.deaf} for one in waiting
    ]
    return come | {row.id for row in _of_all(connection, _SIGNALLED, places)}


def _shorten(connection: Connection, waiting: Sequence[Rest]) -> None:
    """Delete what stands before histories that begin anew, and what mailboxes need no more."""
    begun = [one for one in waiting if one.awaited.begins]
    _of_all(connection, _FORGET, [_place(one, HISTORY, one.awaited.begins) for one in begun])
    for one in begun:
        if (keeps_s := one.awaited.keeps_s) is not None:
            mailbox.trim(connection, one.claim, one.awaited.heard, keeps_s)


def _place(one: Rest, prefix: str, seq: int) -> dict[str, Any]:
    """A place in a stream of a step."""
    claim = one.claim
    return {"id": claim.id, "tenant": claim.tenant, "stream": prefix + claim.id, "seq": seq}


def _of_all(
    connection: Connection, statement: dict[str, Any], places: Sequence[dict[str, Any]]
) -> Sequence[Any]:
    if not places:
        return ()
    found = connection.execute(statement[connection.dialect.name], {"places": json.dumps(places)})
    return found.all() if found.returns_rows else ()


_COLUMNS = ("id", "tenant", "stream", "seq", "deaf")
_PLACES = {
    "postgresql": (
        "json_to_recordset(CAST(:places AS json)) "
        "AS v(id text, tenant text, stream text, seq bigint, deaf boolean)"
    ),
    "sqlite": f"""(
        SELECT {", ".join(f"json_extract(value, '$.{name}') AS {name}" for name in _COLUMNS)}
        FROM json_each(:places)
    ) AS v""",  # noqa: S608 - of our own words, here and below
}
_OF_STREAM = "e.tenant = v.tenant AND e.stream = v.stream"
_SIGNAL = f"SELECT 1 FROM entries AS e WHERE {_OF_STREAM} AND e.seq > v.seq"  # noqa: S608
#: A CASE is asked for each place: the server would else look for a way to join all of them with the
#: whole table, which it may take for a small one.
_SIGNALLED = {
    dialect: text(
        f"""
        SELECT v.id FROM {places}
        WHERE CASE
            WHEN v.deaf THEN EXISTS ({_SIGNAL} AND e.kind = '{CANCEL}' AND e.key = '{CANCEL}')
            ELSE EXISTS ({_SIGNAL})
        END
        """  # noqa: S608
    )
    for dialect, places in _PLACES.items()
}
_FORGET = {
    "postgresql": text(
        f"""
        DELETE FROM entries WHERE pos = ANY (ARRAY(
            SELECT o.pos FROM {_PLACES["postgresql"]},
            LATERAL (
                SELECT e.pos FROM entries AS e WHERE {_OF_STREAM} AND e.seq < v.seq OFFSET 0
            ) AS o
        ))
        """  # noqa: S608
    ),
    "sqlite": text(
        f"""
        DELETE FROM entries WHERE pos IN (
            SELECT e.pos FROM {_PLACES["sqlite"]}
            CROSS JOIN entries AS e ON {_OF_STREAM} AND e.seq < v.seq
        )
        """  # noqa: S608
    ),
}
