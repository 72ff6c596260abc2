"""A space as the backend of a memory sees it, and what that finds there."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from heapq import nlargest
from typing import Any

from sqlalchemy import Connection, bindparam, select

from agents.memory.backends import FOUND_MAX, MemoryBackend, SpaceLink, SpaceText
from agents.plugins import PluginError
from app.journal.memory import links
from app.journal.memory.spaces import Space
from app.journal.memory.vectors import Mirrors
from app.journal.memory.weighing import MemoryQuestion
from app.journal.schema.models import MemoryRow, table
from app.journal.schema.sealed import opened_memory, sealed_by
from celery_agents.contracts.base import PLACES_MAX
from celery_agents.errors import AgentsError
from celery_agents.noted import note

log = logging.getLogger(__name__)

_M = table(MemoryRow).c
#: More than any backend needs, and a number that JSON has.
_POINTS_MAX = 2**53


class Searched:
    """One question to a space; it reads what a backend asks for, when it does."""

    def __init__(
        self,
        connection: Connection,
        space: Space,
        asked: MemoryQuestion,
        words: Mapping[int, int],
        mirrors: Mirrors,
    ) -> None:
        self.id, self.tenant, self.name = space.id, asked.tenant, asked.space
        self.question, self.words = asked.question, words
        self._connection, self._space, self._mirrors = connection, space, mirrors
        self._vector, self._trust = asked.vector, asked.trust

    @property
    def is_cut_off(self) -> bool:
        """True once the connection has broken off by which it reads."""
        return self._connection.invalidated

    def near(self, others: Collection[int]) -> Mapping[int, int]:
        """How near memories are to the question's vector, in thousandths."""
        if self._vector is None:
            return {}
        about = (self._connection, self._space, self._vector)
        return self._mirrors.near(*about, others, self._trust)

    def links(self, places: Collection[int]) -> Sequence[SpaceLink]:
        """The links from and to memories."""
        return links.beside(self._connection, self._space, places)

    def newer(self, after: int, most: int = 200) -> Sequence[SpaceText]:
        """Memories that are everybody's behind a place."""
        about = {"b_space": self.id, "b_after": after, "b_most": most}
        seals = sealed_by(self._connection)
        rows = self._connection.execute(_NEWER, about).all()
        return [SpaceText(r.place, r.id, opened_memory(seals, r.data, r.id)) for r in rows]


_NEWER = (
    select(_M.place, _M.id, _M.data)
    .where(
        _M.space_id == bindparam("b_space"),
        _M.place > bindparam("b_after"),
        _M.state == "live",
    )
    .order_by(_M.place)
    .limit(bindparam("b_most"))
)


def found(space: Searched, backend: MemoryBackend) -> dict[int, int]:
    """Return the points of what a backend finds; where it fails, of what words find.

    Raises:
        PluginError: it is a plug-in's, and that cannot be used.
        AgentsError: what it has asked the journal for cannot be read.
        DBAPIError: the connection of the journal broke off amid it.
    """
    try:
        told: Any = dict(backend.find(space))
        points = {
            int(place): min(int(told[place]), _POINTS_MAX)
            for place in told
            if place in space.words or 0 <= place <= PLACES_MAX
        }
    except (AgentsError, PluginError):
        raise
    except Exception as error:
        if space.is_cut_off:  # then no statement behind it would be answered: all is tried again
            raise
        text = "A memory's backend has failed, and words alone count"
        note(log, "memory_backend", text, error=error, trace=True)
        return dict(space.words)
    if len(points) > FOUND_MAX:
        best = nlargest(FOUND_MAX, points, key=lambda place: (points[place], place))
        points = {place: points[place] for place in best}
    return points
