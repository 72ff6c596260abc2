"""Backends of memories: how those of a space are found, beside their words.

The journal keeps memories, and a backend ranks them: what a step has learned stands in the
transaction that ends it, whichever backend its memory has. A backend gives places and points; what
is over, erased or another space's is not told, whatever it says.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from heapq import nlargest
from typing import NamedTuple, Protocol

from agents.memory.ranking import fused

#: The name of the backend that a memory has where its table names none.
DEFAULT = "vector"
#: Places that a backend gives at the most: of more, those with the most points.
FOUND_MAX = 1_000


class SpaceText(NamedTuple):
    """A memory that is everybody's, and its place in its space, which is never given twice."""

    place: int
    id: str
    text: str


class SpaceLink(NamedTuple):
    """A link from one memory of a space to another: what it is about, or was caused by."""

    kind: str
    place: int
    to: int


class SearchedSpace(Protocol):
    """A space of memories, and the question that is asked of it."""

    #: A number that no other space has or will have.
    id: int
    tenant: str
    name: str
    question: str
    #: Memories that have its words, and their points by these, by their places: whole numbers, of
    #: which only the order means something. What only the run that asks may see is among them.
    words: Mapping[int, int]

    def near(self, others: Collection[int]) -> Mapping[int, int]:
        """How near the memories are that are nearest to the question's vector, and the ``others``.

        In thousandths, of which the nearest has all. Nothing where the memory has no ``embed``.
        """
        ...

    def links(self, places: Collection[int]) -> Sequence[SpaceLink]:
        """The links from and to memories."""
        ...

    def newer(self, after: int, most: int = 200) -> Sequence[SpaceText]:
        """Memories that are everybody's behind a place, in the order of these.

        So a backend that keeps an index of its own reads what is new to it, and nothing twice. What
        has ended since then need not be left out of what it finds.
        """
        ...


class MemoryBackend(Protocol):
    """Finds memories of spaces. One serves all recalls of a process, from several threads."""

    def find(self, space: SearchedSpace) -> Mapping[int, int]:
        """The points of memories, by their places.

        Where it raises, words alone count.
        """
        ...


class WordsBackend:
    """Finds memories by their words."""

    def find(self, space: SearchedSpace) -> Mapping[int, int]:
        """Those that have words of the question."""
        return space.words


class VectorBackend:
    """Finds memories by their vectors, too, where its memory has an ``embed``."""

    def find(self, space: SearchedSpace) -> Mapping[int, int]:
        """Those that have its words, and those whose vectors are near to its own."""
        near = space.near(space.words)
        return fused(space.words, near) if near else space.words


class GraphBackend:
    """Finds what is linked with memories that fit, too: up to two links away from one.

    A question that names a person finds what is about them, though it does not say so.
    """

    #: The memories from which links are followed.
    SEEDS = 20
    #: What a link leaves of the points of the memory from which it is followed, in hundredths.
    LINK_PERCENT = 50
    HOPS = 2

    def __init__(self) -> None:
        self._first = VectorBackend()

    def find(self, space: SearchedSpace) -> Mapping[int, int]:
        """Those that fit by words and vectors, and those that are linked with the best of them."""
        found = dict(self._first.find(space))
        best = nlargest(self.SEEDS, found, key=lambda place: (found[place], place))
        at = {place: found[place] for place in best}
        # As much as the best of its links gives it, so that no memory wins by having many.
        gained: dict[int, int] = {}
        passed = {*at}
        for _ in range(self.HOPS):
            linked = self._linked(space, at)
            gained |= {p: max(points, gained.get(p, 0)) for p, points in linked.items()}
            at = {place: points for place, points in linked.items() if place not in passed}
            passed |= at.keys()
        return found | {place: found.get(place, 0) + points for place, points in gained.items()}

    def _linked(self, space: SearchedSpace, at: Mapping[int, int]) -> dict[int, int]:
        """Those that are linked with these, and the points that they get from them."""
        found: dict[int, int] = {}
        for link in space.links(at) if at else ():
            for here, there in ((link.place, link.to), (link.to, link.place)):
                if here in at:
                    points = at[here] * self.LINK_PERCENT // 100
                    found[there] = max(points, found.get(there, 0))
        return found


def built_in() -> dict[str, MemoryBackend]:
    """The backends that every worker has, by their names."""
    return {"sql": WordsBackend(), DEFAULT: VectorBackend(), "graph": GraphBackend()}
