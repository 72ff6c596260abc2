"""The bounds of a team: how deep agents ask agents, how many, how often one hands over.

A team is an agent's step with all that hangs below it, up to the next pattern. It is looked at in
the transaction that would make a member, under the join of the run's root (see locks.py), so that
two members that ask at the same time see each other. Whom it has no room for is a member that has
failed: whoever asks hears of it as of any other failure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, func, literal, select, update

from agents.asking import is_handoff
from app.journal.schema.engine import now
from app.journal.schema.models import Step, table
from app.journal.schema.rows import Claimed
from celery_agents import names
from celery_agents.contracts.outcome import ErrorInfo, Outcome, State
from celery_agents.errors import LimitReachedError

_STEPS = table(Step)
_S = _STEPS.c


@dataclass(frozen=True, slots=True)
class Caps:
    """The bounds of every team."""

    depth: int = 5
    steps: int = 200
    handoffs: int = 5


def refuse(connection: Connection, asking: Claimed, ids: Sequence[str], caps: Caps) -> set[str]:
    """End those new members of an agent's step that are too many; return their ids.

    Raises:
        LimitReachedError: it was refused as many already, and asks on.
    """
    way = connection.execute(_WAY, {"b_id": asking.id}).all()
    over = connection.execute(_BELOW, {"b_id": way[-1].id}).scalar_one() - caps.steps
    if over > caps.steps:
        raise LimitReachedError(f"{asking.agent} asks on, though max_steps are used up.")
    new = connection.execute(_NEW, {"b_ids": list(ids)}).all()
    room = len(new) - max(over, 0)
    refused: dict[str, Outcome] = {}
    for place, row in enumerate(new):
        why = _why(row.member, [one.member for one in way[:-1]], caps)
        if why is None and place >= room:
            why = f"The agents of this run have asked {caps.steps} others, the limit (max_steps)"
        if why is not None:
            error = ErrorInfo.of(LimitReachedError(f"{why}. It was not asked."))
            told = Outcome(state=State.FAILED, agent=row.agent, member=row.member, error=error)
            refused[row.id] = told
    if refused:
        rows = [{"b_id": i, "b_outcome": told.compact()} for i, told in refused.items()]
        connection.execute(_REFUSE, rows)
    return {*refused}


def _why(key: str, above: Sequence[str], caps: Caps) -> str | None:
    """Say why a member of this key is too much below those of these keys, nearest first."""
    if is_handoff(key):
        if sum(_leading(above)) >= caps.handoffs:
            return f"It was handed over {caps.handoffs} times, the limit (max_handoffs)"
    elif sum(not is_handoff(one) for one in above) >= caps.depth:
        return f"Agents ask agents {caps.depth} deep already, the limit (max_depth)"
    return None


def _leading(above: Sequence[str]) -> Iterator[bool]:
    """Give a True for each of the handoffs that led here, one after the other."""
    for key in above:
        if not is_handoff(key):
            return
        yield True


def _way() -> Any:
    """Return the statement that finds a step and those above it in its team, nearest first."""
    own = select(_S.id, _S.parent_id, _S.member, literal(0).label("level"))
    way = own.where(_S.id == bindparam("b_id")).cte("way", recursive=True)
    above = select(_S.id, _S.parent_id, _S.member, way.c.level + 1)
    above = above.where(_S.id == way.c.parent_id, _S.task == names.ASK)
    way = way.union_all(above)
    return select(way.c.id, way.c.member).order_by(way.c.level)


def _below() -> Any:
    """Return the statement that counts the agents' turns below a step."""
    below = select(_S.id).where(_S.parent_id == bindparam("b_id"), _S.task == names.ASK)
    found = below.cte("below", recursive=True)
    further = select(_S.id).where(_S.parent_id == found.c.id, _S.task == names.ASK)
    return select(func.count()).select_from(found.union_all(further))


_WAY, _BELOW = _way(), _below()
_NEW = (
    select(_S.id, _S.member, _S.agent)
    .where(_S.id.in_(bindparam("b_ids", expanding=True)))
    .order_by(_S.position)
)
_REFUSE = (
    update(_STEPS)
    .where(_S.id == bindparam("b_id"))
    .values(
        state=State.FAILED,
        outcome=bindparam("b_outcome", type_=_S.outcome.type),
        finished_at=now(),
        settled=True,
    )
)
