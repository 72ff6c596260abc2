"""A join that waits for any of many things: a member's end, a signal, a time.

Whoever brings one of them locks the step's join or its row first. So what is looked at here, after
both were locked, is all that came before; what comes later finds the join open, and fires it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, select

from agents.plan import AwaitedAny
from app.journal.schema.models import Entry, Step, table
from app.journal.schema.rows import FINAL, Aftermath, Claimed, derived_id
from app.journal.steps import joins
from celery_agents.contracts.flows.entries import SIGNALS

_S = table(Step).c
_E = table(Entry).c
#: The kinds of what stands there (messages are an actor's), and the key of the cancellation, of
#: which there is one.
SIGNAL, CANCEL, MESSAGE = "signal", "cancel", "message"
#: Members that are looked up by one statement.
_AT_ONCE = 5_000


def go_on(
    connection: Connection, claim: Claimed, awaited: AwaitedAny, rules: joins.Rules
) -> Aftermath:
    """Let go of members, and fire a join that was just opened if something has come already."""
    after = Aftermath()
    if awaited.lets_go:
        after = joins.drop_some(connection, claim.id, claim.run_id, awaited.lets_go)
    if _has_ended(connection, claim.id, awaited.open) or _has_come(connection, claim, awaited):
        after.add(joins.fire(connection, claim.id, rules))
    return after


def _has_ended(connection: Connection, step_id: str, keys: Sequence[str]) -> bool:
    return any(row.state in FINAL for row in members(connection, step_id, keys))


def _has_come(connection: Connection, claim: Claimed, awaited: AwaitedAny) -> bool:
    about = {"b_tenant": claim.tenant, "b_stream": SIGNALS + claim.id, "b_after": awaited.heard}
    later = _CANCELLED if awaited.deaf else _LATER
    return connection.execute(later, about).first() is not None


_LATER = (
    select(_E.seq)
    .where(
        _E.tenant == bindparam("b_tenant"),
        _E.stream == bindparam("b_stream"),
        _E.seq > bindparam("b_after"),
    )
    .limit(1)
)
_CANCELLED = _LATER.where(_E.kind == CANCEL)


def members(connection: Connection, step_id: str, keys: Sequence[str]) -> list[Any]:
    """Members of a step by their keys."""
    return members_of(connection, [(step_id, keys)])[0]


def members_of(
    connection: Connection, asked: Sequence[tuple[str, Sequence[str]]]
) -> list[list[Any]]:
    """Members of several steps by their keys: looked up by the ids that they have, as a rule."""
    ids = [{derived_id(step_id, key): key for key in keys} for step_id, keys in asked]
    wanted = [*dict.fromkeys(one for some in ids for one in some)]
    by_id: dict[str, Any] = {}
    for start in range(0, len(wanted), _AT_ONCE):
        some = {"b_ids": wanted[start : start + _AT_ONCE]}
        by_id |= {row.id: row for row in connection.execute(_BY_ID, some)}
    found: list[list[Any]] = []
    for (step_id, keys), own in zip(asked, ids, strict=True):
        rows = [row for one in own if (row := by_id.get(one)) and row.parent_id == step_id]
        if len(rows) < len(keys):  # an id of theirs names another run, so they have others
            rows = _by_key(connection, step_id, keys)
        found.append(rows)
    return found


def _by_key(connection: Connection, step_id: str, keys: Sequence[str]) -> list[Any]:
    found: list[Any] = []
    for start in range(0, len(keys), _AT_ONCE):
        some = {"b_parent": step_id, "b_keys": list(keys[start : start + _AT_ONCE])}
        found += connection.execute(_BY_KEY, some).all()
    return found


_ENDS = (_S.id, _S.member, _S.state, _S.outcome, _S.finished_at, _S.parent_id)
_BY_ID = select(*_ENDS).where(_S.id.in_(bindparam("b_ids", expanding=True)))
_BY_KEY = select(*_ENDS).where(
    _S.parent_id == bindparam("b_parent"), _S.member.in_(bindparam("b_keys", expanding=True))
)
