"""The bounds that a run was given by options, and where: each holds for all below its step.

They travel with the payloads: a member has those of its parent, or narrower ones of its own. Which
step a bound is counted from is read from the rows above, which do not change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, func, literal, select

from app.journal.schema.models import Call, Step, table
from app.journal.schema.rows import Claimed
from celery_agents import names
from celery_agents.contracts.ask import CAPS
from celery_agents.contracts.budgets import RunBudget

_S = table(Step).c
_C = table(Call).c


@dataclass(frozen=True, slots=True)
class Bound:
    """The bounds of all below a step, by the names of their options."""

    step_id: str
    caps: Mapping[str, float]


def bounds_of(
    connection: Connection, claim: Claimed, caps: Mapping[str, float], *, default: float | None
) -> tuple[Bound, ...]:
    """Return the bounds that hold for a step, which has these itself; those of the run come first.

    ``default`` is the ``max_cost`` of every run. A bound as wide as one above it says nothing.
    """
    above = [] if claim.parent_id is None else connection.execute(_ABOVE, {"b_id": claim.id}).all()
    found, known = [], dict[str, float]()
    for step_id, own in (*((row.id, _given(row, default)) for row in above), (claim.id, caps)):
        narrower = {n: cap for n, cap in own.items() if n not in known or cap < known[n]}
        if narrower:
            known |= narrower
            found.append(Bound(step_id, narrower))
    return tuple(found)


def _given(row: Any, default: float | None) -> dict[str, float]:
    options = row.payload["kwargs"]
    given = {n: options[n] for n in CAPS if options.get(n) is not None}
    if (budget := options.get("budget")) is not None:
        given |= RunBudget.model_validate(budget).bounds
    if row.parent_id is None and default is not None:
        given["max_cost"] = min(default, given.get("max_cost", default))
    return given


def cost_below(connection: Connection, step_id: str) -> float:
    """Return the USD that finished calls of a step have cost, and of all below it.

    A call of which nobody knows the price counts nothing.
    """
    return float(connection.execute(_COST, {"b_id": step_id}).scalar_one())


def spent_up(connection: Connection, bounds: Sequence[Bound]) -> str | None:
    """Say that a bound of the cost is reached; None: it is not."""
    for bound in bounds:
        cap = bound.caps.get("max_cost")
        if cap is not None and (cost := cost_below(connection, bound.step_id)) >= cap:
            return (
                f"The calls of this run have cost {cost:.6g} USD, the limit is {cap:g} (max_cost)"
            )
    return None


def asked_below(connection: Connection, step_id: str, *, agent: bool) -> int:
    """Count the turns that agents asked for, below a step: of a pattern not its own members."""
    return int(
        connection.execute(_BELOW, {"b_id": step_id, "b_least": int(not agent)}).scalar_one()
    )


def _above() -> Any:
    own = select(_S.id, _S.parent_id, _S.payload, literal(0).label("level"))
    way = own.where(_S.id == bindparam("b_id")).cte("above", recursive=True)
    above = select(_S.id, _S.parent_id, _S.payload, way.c.level + 1)
    way = way.union_all(above.where(_S.id == way.c.parent_id))
    found = select(way.c.id, way.c.parent_id, way.c.payload)
    return found.where(way.c.level > 0).order_by(way.c.level.desc())


def _below() -> Any:
    """Return the statement that counts the agents' turns below a step, from some level on."""
    below = select(_S.id, literal(0).label("level"))
    below = below.where(_S.parent_id == bindparam("b_id"), _S.task == names.ASK)
    found = below.cte("below", recursive=True)
    further = select(_S.id, found.c.level + 1)
    found = found.union_all(further.where(_S.parent_id == found.c.id, _S.task == names.ASK))
    return select(func.count()).select_from(found).where(found.c.level >= bindparam("b_least"))


def _cost() -> Any:
    own = select(_S.id).where(_S.id == bindparam("b_id")).cte("tree", recursive=True)
    tree = own.union_all(select(_S.id).where(_S.parent_id == own.c.id))
    total = func.coalesce(func.sum(_C.cost_usd), 0.0)
    return select(total).where(_C.step_id.in_(select(tree.c.id)))


_ABOVE, _BELOW, _COST = _above(), _below(), _cost()
