"""Outcomes of steps that a space keeps to learn from: read, and judged by people."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection, bindparam, select, update

from app.journal.memory import spaces
from app.journal.schema.models import MemoryRow, table
from celery_agents.contracts.experience import Experienced

_M = table(MemoryRow).c


def kept(
    connection: Connection, tenant: str, name: str, agent: str | None = None
) -> Iterator[Experienced]:
    """Read the outcomes that a space keeps, those that are over too; perhaps of one agent."""
    if (space := spaces.found(connection, tenant, name)) is None:
        return
    query = _KEPT if agent is None else _KEPT.where(_M.agent == agent)
    for told in connection.execute(query, {"b_space": space.id}).scalars():
        yield Experienced.model_validate(told)


_KEPT = (
    select(_M.experience)
    .where(_M.space_id == bindparam("b_space"), _M.experience.is_not(None))
    .order_by(_M.place)
)


def judge(connection: Connection, run_id: str, *, right: bool) -> None:
    """Let the outcomes of a run be worth what a person says."""
    for memory_id, told in connection.execute(_OF_RUN, {"b_run": run_id}).all():
        data = Experienced.model_validate(told).model_copy(update={"reward": float(right)})
        connection.execute(_JUDGE, {"b_id": memory_id, "b_data": data.compact()})


def held(connection: Connection, run_id: str) -> bool:
    """Hold the outcomes of a run; return whether any is kept."""
    return bool(connection.execute(_OF_RUN.with_for_update(), {"b_run": run_id}).all())


_OF_RUN = (
    select(_M.id, _M.experience)
    .where(_M.run_id == bindparam("b_run"), _M.experience.is_not(None))
    .order_by(_M.id)
)
_JUDGE = (
    update(table(MemoryRow))
    .where(_M.id == bindparam("b_id"))
    .values(experience=bindparam("b_data", type_=_M.experience.type))
)
