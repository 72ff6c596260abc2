"""Spaces of memories in a journal, held against the rows that they count."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from sqlalchemy import Connection, select

from agents.memory.terms import terms_of
from app.journal.schema.models import MemoryRow, MemorySpace, MemoryTerm, table

_M, _T = table(MemoryRow).c, table(MemoryTerm).c


def check_spaces(connection: Connection) -> int:
    """Check that terms are those of the texts, and numbers those of the rows; how many there are.

    It reads texts, so it is for journals that do not encrypt them.
    """
    live = connection.execute(select(table(MemoryRow)).where(_M.state == "live")).all()
    rows: dict[int, list[Any]] = defaultdict(list)
    for row in live:
        rows[row.space_id].append(row)
    written: dict[int, list[tuple[Any, ...]]] = defaultdict(list)
    asked = select(_T.space_id, _T.term, _T.place, _T.times, _T.length)
    for space_id, *term in connection.execute(asked):
        written[space_id].append(tuple(term))
    spaces = {space.id: space for space in connection.execute(select(table(MemorySpace)))}
    assert rows.keys() | written.keys() <= spaces.keys(), "rows of a space that is gone"
    for space in spaces.values():
        mine = rows[space.id]
        numbers = (len(mine), sum(r.length for r in mine), sum(r.tokens for r in mine))
        counted = (space.memories, space.length, space.tokens)
        assert counted == numbers, f"{space.name} counts {counted}, and has {numbers}"
        assert space.tokens <= space.capacity_tokens, f"{space.name} is above its capacity"
        assert sorted(written[space.id]) == sorted(
            (term, row.place, times, row.length)
            for row in mine
            for term, times in terms_of(row.data["text"], space.language).items()
        ), f"terms of {space.name} are not those of its texts"
    return len(live)
