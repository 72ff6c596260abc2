"""Runs that events start which such runs have added: so many in a row, and no more.

A run that hears its own events would start itself for ever. Each run says in its payload how many
stand before it, and an entry says which run has added it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, select

from app.journal.schema.models import Step, table
from app.journal.schema.rows import NewStep
from celery_agents.errors import PermanentError

_S = table(Step).c
#: In the payload of a run that an entry starts, beside its arguments.
DEPTH = "agents_depth"
#: Runs in a row of which each was started by what the one before has added.
DEPTH_MAX = 32


class TooDeepError(PermanentError):
    """An entry starts no run: too many stand before it in a row."""

    kind = "event_loop"


def of(connection: Connection, entries: Sequence[Any]) -> list[int]:
    """Of each entry, how many runs stand before it in a row; 0 of what no such run has added."""
    ids = {entry.run_id for entry in entries if entry.run_id is not None}
    found: dict[str, int] = {}
    if ids:
        depth = _S.payload[DEPTH].as_integer()
        rows = connection.execute(select(_S.id, depth).where(_S.id.in_(ids), depth.is_not(None)))
        found = {row[0]: row[1] for row in rows}
    return [found.get(entry.run_id, 0) for entry in entries]


def check(depth: int, entry: Any) -> None:
    """Refuse an entry that too many runs stand before.

    Raises:
        TooDeepError: they do.
    """
    if depth >= DEPTH_MAX:
        raise TooDeepError(
            f"{DEPTH_MAX} runs in a row were each started by an event of the one before; the last "
            f"one is {entry.run_id}. Have it add to another stream, or another kind, than what "
            "starts it; requeue this letter to let them go on."
        )


def at(new: NewStep, depth: int) -> NewStep:
    """The row of a run before which so many stand, itself counted."""
    return replace(new, payload={**new.payload, DEPTH: depth})
