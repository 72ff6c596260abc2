"""The agents that workers offer, for people and clients to see."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, update

from app.journal.schema.engine import read_clock
from app.journal.schema.models import Agent
from app.journal.schema.upsert import insert_new


def announce(connection: Connection, rows: list[dict[str, Any]]) -> None:
    """Write down this worker's agents; ``rows`` have name, kind, description and effects."""
    at = read_clock(connection)
    for row in sorted(rows, key=lambda r: str(r["name"])):
        known = connection.execute(
            update(Agent).where(Agent.name == row["name"]).values(**row, seen_at=at)
        ).rowcount
        if not known:
            connection.execute(insert_new(connection, Agent).values(**row, seen_at=at))
