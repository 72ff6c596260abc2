"""Lessons of agents' requests, and of routers' turns, that all workers share."""

from __future__ import annotations

from collections.abc import Callable

from agents.catalog.registry import Registered
from agents.governance.lessons import Own
from agents.governance.routing import Experience, RoutePolicy, ServedTurn
from agents.governance.sizes import Observed, Sizes
from app.governance.memory import SharedMemory
from app.journal import Journal


class SharedLessons(Own):
    """The lessons of one agent and its model, which all workers share."""

    def __init__(self, about: str, journal: Callable[[], Journal]) -> None:
        super().__init__()
        self._memory: SharedMemory[Sizes, Observed] = SharedMemory(
            f"sizes:{about}",
            journal,
            read=Sizes.read,
            after=Sizes.after,
            count=lambda sizes: sizes.calls,
        )

    @property
    def at_hand(self) -> Sizes:
        """The lessons as this process knows them now."""
        return self._memory.at_hand

    async def known(self, *, newest: bool = False) -> Sizes:
        """The lessons up to now; those of other workers come along when they are read."""
        return await self._memory.known(newest=newest)

    def add(self, seen: Observed) -> None:
        """Learn from a request; the journal hears of it later."""
        self._memory.add(seen)


class RouterLessons:
    """The lessons of this process's routers, which all workers share."""

    def __init__(self, journal: Callable[[], Journal]) -> None:
        self._journal = journal
        self._memories: dict[str, SharedMemory[Experience, ServedTurn]] = {}

    async def known(self, router: Registered) -> Experience:
        """The lessons of a router up to now."""
        return await self._of(router).known()

    def add(self, router: Registered, served: ServedTurn) -> None:
        """Learn from a turn; the journal hears of it later."""
        self._of(router).add(served)

    def _of(self, router: Registered) -> SharedMemory[Experience, ServedTurn]:
        found = self._memories.get(router.name)
        if found is None:
            adaptive = (router.route or RoutePolicy()).adaptive
            found = self._memories[router.name] = SharedMemory(
                f"router:{router.name}",
                self._journal,
                read=Experience.read,
                after=lambda known, served: known.after(served, adaptive),
                count=lambda known: known.turns,
            )
        return found
