"""The rows of a step's members: one statement makes a thousand of them.

With a parameter for each column of each row, SQLAlchemy and the driver took most of the time of a
large expansion. Here a statement gets what members differ in as arrays (PostgreSQL) or as JSON
(SQLite), and what they have in common once.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, TextClause, text

from agents.patterns.plan import Member
from app.journal.schema.engine import as_json, read_clock
from app.journal.schema.rows import Claimed
from celery_agents.contracts.outcome import State

#: Rows of one statement: with payloads at their limit it is 256 MiB, as a rule 100 kB.
_AT_ONCE = 1_000
#: What members differ in, with PostgreSQL's types.
_OWN = {
    "id": "text",
    "member": "text",
    "task": "text",
    "agent": "text",
    "state": "text",
    "payload": "text",
    "max_attempts": "integer",
    "deadline_s": "double precision",
}


@dataclass(frozen=True, slots=True)
class NewMember:
    """A member under its id, and its payload."""

    id: str
    member: Member
    payload: dict[str, Any]

    def columns(self) -> tuple[Any, ...]:
        """Its own: id, key, task, agent, state, payload, attempts and seconds at the most."""
        m = self.member
        state = (State.WAITING if m.waits else State.READY).value
        told = (m.key, m.task, m.agent, state, as_json(self.payload), m.max_attempts)
        return (self.id, *told, m.deadline_s)


def insert_members(
    connection: Connection,
    parent: Claimed,
    members: Sequence[NewMember],
    *,
    start: int,
    number: int,
    wake_grace_s: float,
) -> set[str]:
    """Insert members that are not there yet, at places from ``start`` on, in round ``number``.

    Returns the ids of the new ones.
    """
    dialect = connection.dialect.name
    common = {
        "run_id": parent.run_id,
        "parent_id": parent.id,
        "queue": parent.queue,
        "priority": parent.priority,
        "round": number,
        "at": read_clock(connection),
        "grace": wake_grace_s,
    }
    made: set[str] = set()
    for first in range(0, len(members), _AT_ONCE):
        rows = [m.columns() for m in members[first : first + _AT_ONCE]]
        values = {**common, **_GIVEN[dialect](rows), "start": start + first}
        made.update(connection.execute(_INSERTIONS[dialect], values).scalars())
    return made


def _insertion(own: dict[str, str], payload: str, place: str, source: str) -> TextClause:
    """The statement, with a database's words for a member's columns and its place among them."""
    values = {
        **{name: own[name] for name in ("id", "member", "task", "agent", "state", "max_attempts")},
        **{name: f":{name}" for name in ("run_id", "parent_id", "queue", "priority", "round")},
        "payload": payload,
        "position": f":start + {place}",
        "deadline_at": f":at + {own['deadline_s']}",
        "ready_at": ":at",
        "created_at": ":at",
        "wake_at": ":at + :grace",
        **dict.fromkeys(("attempts", "token", "wakes"), "0"),
        **dict.fromkeys(("cancel_requested", "settled"), "false"),
    }
    names, words = ", ".join(values), ", ".join(values.values())
    chosen = f"SELECT {words} FROM {source} WHERE true"  # noqa: S608 - of our own words
    return text(f"INSERT INTO steps ({names}) {chosen} ON CONFLICT DO NOTHING RETURNING id")


_ARRAYS = ", ".join(f"CAST(:{name}s AS {kind}[])" for name, kind in _OWN.items())
_INSERTIONS = {
    "postgresql": _insertion(
        {name: f"v.{name}" for name in _OWN},
        "CAST(v.payload AS json)",
        "v.place - 1",
        f"unnest({_ARRAYS}) WITH ORDINALITY AS v({', '.join(_OWN)}, place)",
    ),
    "sqlite": _insertion(
        (own := {name: f"json_extract(v.value, '$[{n}]')" for n, name in enumerate(_OWN)}),
        own["payload"],
        "v.key",
        "json_each(:rows) AS v",
    ),
}


def _as_arrays(rows: Sequence[tuple[Any, ...]]) -> dict[str, Any]:
    columns = zip(*rows, strict=True)
    return {f"{name}s": list(column) for name, column in zip(_OWN, columns, strict=True)}


def _as_text(rows: Sequence[tuple[Any, ...]]) -> dict[str, Any]:
    return {"rows": json.dumps(rows)}


_GIVEN = {"postgresql": _as_arrays, "sqlite": _as_text}
