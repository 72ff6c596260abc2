"""The bounds of a team: how deep agents ask agents, how wide, how many, how often one hands over.

They are looked at in the transaction that would make a member, under the join of the run's root
(see locks.py), so that two members that ask at the same time see each other. Those of the settings
are of each team, an agent's step with all that hangs below it, up to the next pattern; a run may
have narrower ones (see bounds.py). Whom there is no room for is a member that has failed: whoever
asks hears of it as of any other failure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile
from typing import Any

from sqlalchemy import Connection, bindparam, literal, select, update

from agents.asking import is_handoff
from app.journal.schema.engine import now
from app.journal.schema.models import Step, table
from app.journal.schema.rows import Claimed, EndedStep
from app.journal.steps.bounds import Bound, asked_below, spent_up
from celery_agents import names
from celery_agents.contracts.outcome import ErrorInfo, Outcome, State
from celery_agents.errors import LimitReachedError

_STEPS = table(Step)
_S = _STEPS.c


@dataclass(frozen=True, slots=True)
class Caps:
    """The bounds of every team; ``cost``, in USD, is of every run."""

    depth: int = 5
    steps: int = 200
    handoffs: int = 5
    cost: float | None = None
    width: int | None = None

    def of(self, team: str) -> Bound:
        """Themselves, as the bound of the team below this step."""
        counts = {"max_depth": self.depth, "max_steps": self.steps, "max_handoffs": self.handoffs}
        width = {} if self.width is None else {"max_width": self.width}
        return Bound(team, counts | width)


def refuse(
    connection: Connection, asking: Claimed, ids: Sequence[str], caps: Caps, bounds: Sequence[Bound]
) -> dict[str, EndedStep]:
    """End those new members of a step that are too many; return them by their ids.

    Of a pattern its own members are bounded by the cost alone: their number is its caller's wish.

    Raises:
        LimitReachedError: it was refused as many already, and asks on.
    """
    new = connection.execute(_NEW, {"b_ids": list(ids)}).all()
    spent = spent_up(connection, bounds)
    if spent is not None:
        told = dict.fromkeys((row.id for row in new), spent)
    elif asking.task == names.ASK:
        told = _too_many(connection, asking, new, caps, bounds)
    else:
        told = {}
    ended = {row.id: _refused(row, told[row.id]) for row in new if row.id in told}
    if ended:
        values = [{"b_id": i, "b_outcome": one.outcome.compact()} for i, one in ended.items()]
        connection.execute(_REFUSE, values)
    return ended


def _too_many(
    connection: Connection,
    asking: Claimed,
    new: Sequence[Any],
    caps: Caps,
    bounds: Sequence[Bound],
) -> dict[str, str]:
    """Say of those members of an agent's step that are too many why they are."""
    way = connection.execute(_WAY, {"b_id": asking.id}).all()
    team = [*takewhile(lambda row: row.task == names.ASK, way)]
    bounds = [*bounds, caps.of(team[-1].id)]
    places = {row.id: place for place, row in enumerate(way)}
    above = [(row.member, parent.task == names.ASK) for row, parent in pairwise(way)]
    told: dict[str, str] = {}
    for bound in bounds:
        place = places[bound.step_id]
        asked = [key for key, by_agent in above[:place] if by_agent]
        for row in new:
            if (why := _why(row.member, asked, bound.caps)) is not None:
                told.setdefault(row.id, why)
        if (most := bound.caps.get("max_width")) is not None:
            told = _too_wide(connection, asking, new, int(most)) | told
        if (most := bound.caps.get("max_steps")) is not None:
            agent = way[place].task == names.ASK
            before = asked_below(connection, bound.step_id, agent=agent) - len(new)
            if before - most >= max(most, 1):
                raise LimitReachedError(f"{asking.agent} asks on, though max_steps are used up.")
            why = f"The agents of this run have asked {most} others, the limit (max_steps)"
            for row in new[max(int(most) - before, 0) :]:
                told.setdefault(row.id, why)
    return told


def _too_wide(
    connection: Connection, asking: Claimed, new: Sequence[Any], most: int
) -> dict[str, str]:
    """Say it of those whom one step asks beyond so many, in all of its turns; no handoffs."""
    members = connection.execute(_ASKED, {"b_id": asking.id}).scalars()
    asks = [row for row in new if not is_handoff(row.member)]
    before = sum(not is_handoff(key) for key in members) - len(asks)
    if before - most >= max(most, 1) and asks:
        raise LimitReachedError(f"{asking.agent} asks on, though its max_width is used up.")
    why = f"This agent has asked {most} others, the limit (max_width)"
    return {row.id: why for row in asks[max(most - before, 0) :]}


def _why(key: str, above: Sequence[str], caps: Mapping[str, float]) -> str | None:
    """Say why a member of this key is too much below those of these keys, nearest first."""
    if is_handoff(key):
        most = caps.get("max_handoffs")
        if most is not None and sum(_leading(above)) >= most:
            return f"It was handed over {most} times, the limit (max_handoffs)"
        return None
    most = caps.get("max_depth")
    if most is not None and sum(not is_handoff(one) for one in above) >= most:
        return f"Agents ask agents {most} deep already, the limit (max_depth)"
    return None


def _leading(above: Sequence[str]) -> Iterator[bool]:
    """Give a True for each of the handoffs that led here, one after the other."""
    for key in above:
        if not is_handoff(key):
            return
        yield True


def _refused(row: Any, why: str) -> EndedStep:
    error = ErrorInfo.of(LimitReachedError(f"{why}. It was not asked."))
    told = Outcome(state=State.FAILED, agent=row.agent, member=row.member, error=error)
    return EndedStep(row.task, row.agent, told)


def _way() -> Any:
    """Return the statement that finds a step and those above it, nearest first."""
    own = select(_S.id, _S.parent_id, _S.member, _S.task, literal(0).label("level"))
    way = own.where(_S.id == bindparam("b_id")).cte("way", recursive=True)
    above = select(_S.id, _S.parent_id, _S.member, _S.task, way.c.level + 1)
    way = way.union_all(above.where(_S.id == way.c.parent_id))
    return select(way.c.id, way.c.member, way.c.task).order_by(way.c.level)


_WAY = _way()
_ASKED = select(_S.member).where(_S.parent_id == bindparam("b_id"), _S.task == names.ASK)
_NEW = (
    select(_S.id, _S.member, _S.task, _S.agent)
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
