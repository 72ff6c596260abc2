"""Links between memories of one space that are everybody's: what one is about, what caused it.

A link goes with either of its ends. Where a memory takes another one's place it takes over its
links, so that what is corrected is found from where it was found before.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, delete, or_, select

from agents.memory.backends import SpaceLink
from app.journal.memory.spaces import Space, portions
from app.journal.schema.models import MemoryLink, MemoryRow, table
from app.journal.schema.upsert import insertion
from celery_agents.contracts.base import PLACES_MAX

_L = table(MemoryLink).c
_M = table(MemoryRow).c
#: Links of one question at the most, the newest first: a memory may have any number.
READ_MAX = 2_000
#: Places, or ids, that one statement names.
_PAGE = 200
#: Of a new memory: the kind, and the id of the other end.
Told = Sequence[tuple[str, str]]


def enter(connection: Connection, space: Space, told: Mapping[int, Told]) -> None:
    """Write the links of memories, by their places, to others that are everybody's there."""
    ids = sorted({to for links in told.values() for _, to in links})
    if not ids:
        return
    places: dict[str, int] = {}
    for some in portions(ids, _PAGE):
        about = {"b_space": space.id, "b_ids": some}
        places.update((row.id, row.place) for row in connection.execute(_PLACES, about))
    _write(
        connection,
        space,
        (
            (at, places[to], kind)
            for at, links in told.items()
            for kind, to in links
            if to in places
        ),
    )


_HERE = _L.space_id == bindparam("b_space")
_AMONG: Any = bindparam("b_places", expanding=True)
_BESIDE = select(_L.kind, _L.place, _L.to_place).where(
    _HERE, or_(_L.place.in_(_AMONG), _L.to_place.in_(_AMONG))
)
_PLACES = select(_M.id, _M.place).where(
    _M.space_id == bindparam("b_space"),
    _M.state == "live",
    _M.id.in_(bindparam("b_ids", expanding=True)),
)


def _write(connection: Connection, space: Space, links: Iterable[tuple[int, int, str]]) -> None:
    rows: list[dict[str, Any]] = [
        {"space_id": space.id, "place": at, "to_place": to, "kind": kind}
        for at, to, kind in sorted({*links})
        if at != to
    ]
    if rows:
        connection.execute(insertion(connection.dialect.name, MemoryLink), rows)


def inherit(connection: Connection, space: Space, heirs: Mapping[int, int]) -> None:
    """Give the links of memories that are over to those that took their places, by both places."""
    if not heirs:
        return
    rows = connection.execute(_BESIDE, {"b_space": space.id, "b_places": sorted(heirs)}).all()
    moved = (
        (heirs.get(row.place, row.place), heirs.get(row.to_place, row.to_place), row.kind)
        for row in rows
    )
    _write(connection, space, moved)


def leave(connection: Connection, space: Space, places: Sequence[int]) -> None:
    """Delete the links of memories."""
    for some in portions(places, _PAGE):
        connection.execute(_LEAVE, {"b_space": space.id, "b_places": some})


def erase(connection: Connection, space: Space) -> None:
    """Delete those of a whole space."""
    connection.execute(_ERASE, {"b_space": space.id})


_LEAVE = delete(table(MemoryLink)).where(_HERE, or_(_L.place.in_(_AMONG), _L.to_place.in_(_AMONG)))
_ERASE = delete(table(MemoryLink)).where(_HERE)


def beside(connection: Connection, space: Space, places: Collection[int]) -> list[SpaceLink]:
    """Return the links from and to memories, those of the newest first."""
    found: list[SpaceLink] = []
    there = [place for place in places if place <= PLACES_MAX]  # others are a run's own
    for some in portions(sorted(there, reverse=True), _PAGE):
        about = {"b_space": space.id, "b_places": some, "b_most": READ_MAX - len(found)}
        rows = connection.execute(_NEWEST, about)
        found += [SpaceLink(row.kind, row.place, row.to_place) for row in rows]
        if len(found) >= READ_MAX:
            break
    return found


_NEWEST = _BESIDE.order_by(_L.place.desc(), _L.to_place.desc(), _L.kind).limit(bindparam("b_most"))
