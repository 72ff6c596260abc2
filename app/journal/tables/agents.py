"""The agents that workers offer, and those that were made over the API."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from functools import cache
from typing import Any

from sqlalchemy import BigInteger, Connection, cast, delete, func, select, update

from app.journal.schema.engine import now, read_clock
from app.journal.schema.models import Agent, AgentEntry, Worker
from app.journal.schema.upsert import insert_of

#: Bits of a version: so many that some thousands of them add up to 63.
_BITS = 48
#: What a row says that is not the agent's, but of its worker's offer.
_OFFERED = frozenset({"posted", "tools"})
#: Which entries there are, in two numbers that change whenever one does.
MARK = (
    select(func.count()).select_from(AgentEntry).scalar_subquery().label("entries"),
    select(cast(func.coalesce(func.sum(AgentEntry.version), 0), BigInteger))
    .scalar_subquery()
    .label("versions"),
)


def announce(
    connection: Connection,
    rows: list[dict[str, Any]],
    worker_id: str | None = None,
    queues: Sequence[str] = (),
    slots: int | None = None,
) -> None:
    """Write down this worker's agents; ``rows`` have name, kind, description and effects.

    And, of those that were made over the API, ``posted``; of those that are tools, ``tools``. A
    worker may have read of one a moment before it was deleted: it is written down only where its
    entry is still there. ``slots``: so many steps the worker can run at a time.
    """
    there = _held(connection, [row["name"] for row in rows if row.get("posted")])
    rows = [row for row in rows if not row.get("posted") or row["name"] in there]
    at = read_clock(connection)
    written = [
        {n: v for n, v in row.items() if n not in _OFFERED} | {"seen_at": at} for row in rows
    ]
    if written:  # each worker locks them in the same order
        by_name = sorted(written, key=lambda row: str(row["name"]))
        connection.execute(_written(connection.dialect.name), by_name)
    offered = sorted(str(row["name"]) for row in rows)
    tools = {str(row["name"]): row["tools"] for row in rows if "tools" in row}
    offers = {"agents": offered, "queues": sorted(queues), "slots": slots, "tools": tools}
    connection.execute(update(Worker).where(Worker.id == worker_id).values(offers=offers))


@cache
def _written(dialect: str) -> Any:
    """The INSERT of agents that gives those that are there what is told of them now."""
    inserted = insert_of(dialect, Agent)
    told = {c.name: c for c in inserted.excluded if not c.primary_key}
    return inserted.on_conflict_do_update(index_elements=[Agent.name], set_=told)


def _held(connection: Connection, names: Sequence[str]) -> set[str]:
    """Those of these names that have entries, which nobody deletes before the transaction ends."""
    held = select(AgentEntry.name).where(AgentEntry.name.in_(names)).order_by(AgentEntry.name)
    return set(connection.execute(held.with_for_update(read=True)).scalars()) if names else set()


def offers(connection: Connection) -> list[tuple[str, dict[str, Any]]]:
    """The names of workers that live, each with its agents and queues."""
    alive = select(Worker.name, Worker.offers).where(
        Worker.lease_until > now(), Worker.offers.is_not(None)
    )
    return [(name, told) for name, told in connection.execute(alive.order_by(Worker.name))]


def entries(connection: Connection) -> list[dict[str, Any]]:
    """All agents that were made over the API, by name."""
    rows = connection.execute(select(AgentEntry.__table__).order_by(AgentEntry.name))
    return [dict(row._mapping) for row in rows]  # noqa: SLF001 - SQLAlchemy's public name


def mark(connection: Connection) -> tuple[int, int]:
    """The two numbers of :data:`MARK`."""
    number, versions = connection.execute(select(*MARK)).one()
    return number, versions


def put(connection: Connection, name: str, entry: dict[str, Any], by: str) -> bool:
    """Make an agent, or another one of that name; False: workers have one of their own."""
    known = connection.execute(select(AgentEntry.name).where(AgentEntry.name == name)).first()
    if known is None and any(name in told["agents"] for _, told in offers(connection)):
        return False
    about = {"entry": entry, "changed_by": by, "changed_at": now()}
    about["version"] = secrets.randbits(_BITS)
    added = insert_of(connection.dialect.name, AgentEntry).values(name=name, **about)
    changed = added.on_conflict_do_update(index_elements=[AgentEntry.name], set_=about)
    connection.execute(changed)
    return True


def drop(connection: Connection, name: str) -> bool:
    """Delete an agent that was made over the API; return whether there was one."""
    gone = connection.execute(delete(AgentEntry).where(AgentEntry.name == name)).rowcount
    if gone:
        connection.execute(delete(Agent).where(Agent.name == name))
    return bool(gone)
