"""The rows that say how each target is."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from functools import cache
from typing import Any

from sqlalchemy import Connection, select

from app.journal.schema.engine import now
from app.journal.schema.models import Health


class Condition(StrEnum):
    """How a target is."""

    UNKNOWN = "unknown"  # too few probes to tell
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"


def read(connection: Connection) -> list[dict[str, Any]]:
    """All targets by name, with ``age_s`` since each was checked and ``lasts_s`` in its state."""
    rows = connection.execute(
        select(
            Health.__table__,
            (now() - Health.checked_at).label("age_s"),
            (now() - Health.since).label("lasts_s"),
        ).order_by(Health.target)
    )
    return [dict(row._mapping) for row in rows]  # noqa: SLF001 - SQLAlchemy's public name


def of_targets(connection: Connection, targets: Iterable[str]) -> dict[str, Any]:
    """The rows of these targets, those that there are."""
    rows = connection.execute(select(Health.__table__).where(Health.target.in_(list(targets))))
    return {row.target: row for row in rows}


def in_state(connection: Connection, state: str, fresh_s: float) -> frozenset[str]:
    """Targets in that state by a check at most ``fresh_s`` old: without checks nobody is ill."""
    fresh = Health.checked_at > now() - fresh_s
    query = select(Health.target).where(Health.state == state, fresh)
    return frozenset(connection.execute(query).scalars())


def replace(connection: Connection, rows: list[dict[str, Any]]) -> None:
    """Put rows in the place of those of the same targets; of two at once the later one stays."""
    connection.execute(
        _upsertion(connection.dialect.name), sorted(rows, key=lambda row: str(row["target"]))
    )


@cache
def _upsertion(dialect: str) -> Any:
    if dialect == "postgresql":
        from sqlalchemy.dialects.postgresql import insert
    else:
        from sqlalchemy.dialects.sqlite import insert  # type: ignore[assignment]
    made = insert(Health)
    told = {c.name: made.excluded[c.name] for c in Health.__table__.columns if not c.primary_key}
    return made.on_conflict_do_update(index_elements=[Health.target], set_=told)
