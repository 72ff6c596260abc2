"""The lessons of an agent, where it looks at them and adds to them."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from agents.governance.sizes import Observed, Sizes

#: The first requests are all learned from, later ones one in so many.
_ALL, _ONE_IN = 64, 8


class Lessons(Protocol):
    """The lessons of one agent."""

    async def known(self, *, newest: bool = False) -> Sizes:
        """The lessons up to now; the ``newest`` with those of all workers."""
        ...

    @property
    def at_hand(self) -> Sizes:
        """The lessons as this process knows them now."""
        ...

    def due(self) -> bool:
        """Return whether the next request is one to learn from."""
        ...

    def add(self, seen: Observed) -> None:
        """Learn from a request. It waits for nothing."""
        ...


class Own:
    """Lessons that are shared with nobody."""

    def __init__(self) -> None:
        self._sizes = Sizes()
        self._asked = 0

    async def known(self, *, newest: bool = False) -> Sizes:  # noqa: ARG002 - there are no others
        """The lessons up to now."""
        return self._sizes

    @property
    def at_hand(self) -> Sizes:
        """The lessons as this process knows them now."""
        return self._sizes

    def due(self) -> bool:
        """Return whether the next request is one to learn from."""
        self._asked += 1
        return self.at_hand.calls < _ALL or self._asked % _ONE_IN == 0

    def add(self, seen: Observed) -> None:
        """Learn from a request."""
        self._sizes = self._sizes.after(seen)


@runtime_checkable
class Learns(Protocol):
    """A backend that learns from its requests how many tokens texts have."""

    lessons: Lessons
