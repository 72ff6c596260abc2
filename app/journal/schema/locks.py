"""Locks that a statement takes before those that write, in the one order of all.

Joins before steps, steps by their ids, then rows of runs, those of sessions behind these, those of
spaces of memories last, by tenant and name. Of joins those of roots come first, by their ids; one
that is below another is only locked under that of its run's root. So whoever holds a root's join
has its whole tree to itself, and two members that end at the same time cannot each wait for a row
that the other one holds (docs/design.md, "Locks").
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import bindparam, select
from sqlalchemy.engine import Connection

from app.journal.schema.models import Join, Step, table
from app.journal.schema.rows import FINAL

_S = table(Step).c
_J = table(Join).c

#: A join that is to be locked: its step, if there is one, and that one's run.
Lock = tuple[str | None, str]


def lock(connection: Connection, joins: Iterable[Lock]) -> set[str]:
    """Lock joins: roots' first, each kind in the order of ids. Returns those that are held now."""
    wanted = {(step_id, run_id) for step_id, run_id in joins if step_id}
    roots = sorted({run_id for _, run_id in wanted})
    below = sorted({step_id for step_id, run_id in wanted if step_id != run_id})
    if connection.dialect.name == "sqlite":  # it has one writer at a time anyway
        return {*roots, *below}
    held = set[str]()
    for ids in (roots, below):
        if ids:
            held |= {*connection.execute(_LOCK, {"b_ids": ids}).scalars()}
    return held


def lock_free(connection: Connection, step_ids: Iterable[str]) -> set[str]:
    """Lock those of these steps' joins that nobody holds, and wait for none.

    They are younger than the locks on their steps, so they come out of the order: whoever holds one
    may wait for its step.
    """
    return {*connection.execute(_LOCK_FREE, {"b_ids": sorted(step_ids)}).scalars()}


_JOINS = select(_J.step_id).where(_J.step_id.in_(bindparam("b_ids", expanding=True)))
_LOCK = _JOINS.order_by(_J.step_id).with_for_update()
_LOCK_FREE = _JOINS.with_for_update(skip_locked=True)


def lock_steps(connection: Connection, ids: Iterable[str]) -> None:
    """Lock steps' rows in the order of their ids, before statements without an order."""
    wanted = sorted(set(ids))
    if wanted and connection.dialect.name != "sqlite":
        connection.execute(_LOCK_STEPS, {"b_ids": wanted})


# Not FOR UPDATE, here and below: a call that begins refers to its step, which that would hold up.
_LOCK_STEPS = (
    select(_S.id)
    .where(_S.id.in_(bindparam("b_ids", expanding=True)))
    .order_by(_S.id)
    .with_for_update(key_share=True)
)


def hold_still(connection: Connection, parent_ids: list[str]) -> None:
    """Lock open steps, their joins first: one that is being claimed just now is not missed.

    The join of their run's root is held by whoever calls (see the top).
    """
    if connection.dialect.name == "sqlite":
        return
    below = {"b_ids": parent_ids}
    moving = list(connection.execute(_MOVING, below).scalars())
    if moving:
        connection.execute(_LOCK, {"b_ids": moving})
    connection.execute(_HOLD, below)


_BELOW = _S.parent_id.in_(bindparam("b_ids", expanding=True))
_MOVING = select(_S.id).where(_BELOW, _S.state.not_in(FINAL)).order_by(_S.id)
_HOLD = _MOVING.with_for_update(key_share=True)
