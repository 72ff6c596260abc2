"""Agents that were made over the API, for it and for the workers that offer them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Engine

from app.journal.queries import reads
from app.journal.schema.engine import reading
from app.journal.schema.sealed import opened_agent, sealed_agent, sealed_by
from app.journal.schema.transactions import in_transaction
from app.journal.tables import agents, health


class PostedAgents:
    """Those of one journal."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def put(self, name: str, entry: dict[str, Any], by: str) -> bool:
        """Make one, or another one of that name; False: workers have one of their own."""
        row = sealed_agent(sealed_by(self._engine), entry, name)
        return in_transaction(self._engine, lambda c: agents.put(c, name, row, by))

    def drop(self, name: str) -> bool:
        """Delete one; return whether there was one."""
        return in_transaction(self._engine, lambda c: agents.drop(c, name))

    def read(self) -> tuple[tuple[int, int], list[dict[str, Any]]]:
        """All of them, behind the numbers that change with each change."""
        return in_transaction(reading(self._engine), lambda c: (agents.mark(c), agents.entries(c)))

    def opened(self, name: str, entry: dict[str, Any]) -> dict[str, Any]:
        """An entry as it is offered.

        Raises:
            UnreadableValueError: its instructions cannot be read.
        """
        return opened_agent(sealed_by(self._engine), entry, name)

    def offered(self) -> list[dict[str, Any]]:
        """All agents that workers have offered: who does now, in which queues, how they are."""
        return in_transaction(reading(self._engine), _offered)


def _offered(connection: Connection) -> list[dict[str, Any]]:
    states = {row["target"]: row for row in health.read(connection)}
    posted = {row["name"] for row in agents.entries(connection)}
    workers: dict[str, list[tuple[str, list[str]]]] = {}
    tools: dict[str, Any] = {}
    for worker, told in agents.offers(connection):
        tools |= told.get("tools") or {}
        for name in told["agents"]:
            workers.setdefault(name, []).append((worker, told["queues"]))
    return [
        {
            **row,
            "health": _health(states.get(f"agent:{row['name']}")),
            "workers": sorted({worker for worker, _ in workers.get(row["name"], ())}),
            "queues": sorted({q for _, queues in workers.get(row["name"], ()) for q in queues}),
            "posted": row["name"] in posted,
            **({"tools": tools[row["name"]]} if row["name"] in tools else {}),
        }
        for row in reads.agents(connection)
    ]


def _health(row: dict[str, Any] | None) -> dict[str, Any] | None:
    told = ("state", "since", "checked_at", "latency_ms")
    return None if row is None else {name: row[name] for name in told}
