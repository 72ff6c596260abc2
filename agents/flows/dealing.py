"""Dealing units of work to members of a swarm: pure, so that a replay deals the same."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Mapping

from celery_agents.contracts.teams.swarm import Working


class Dealing:
    """Units that nobody has begun, and how many each member has under way.

    With ``round_robin`` each member has units of its own, dealt like cards; with the other
    strategies whoever is free takes the next one: the first, or the most urgent.
    """

    def __init__(self, asked: Working) -> None:
        self._asked = asked
        self.members: dict[str, str] = {}
        self._under_way = Counter[str]()
        self._own: dict[str, deque[int]] = {}
        units = [*range(len(asked.input))]
        urgent = asked.strategy == "priority"
        self._common = deque(sorted(units, key=asked.urgency) if urgent else units)
        self.know(asked.members)

    @property
    def left(self) -> int:
        """Units that nobody has begun."""
        return len(self._common) + sum(map(len, self._own.values()))

    def know(self, members: Mapping[str, str]) -> None:
        """Take note of who is a member now. Those who left end what they have begun.

        What nobody has begun is dealt anew, among those who are there.
        """
        if self.members == dict(members) or self._asked.strategy != "round_robin":
            self.members = dict(members)
            return
        self.members = dict(members)
        units = sorted([*self._common, *(u for own in self._own.values() for u in own)])
        self._own = {name: deque(units[n :: len(members)]) for n, name in enumerate(members)}
        self._common = deque() if members else deque(units)

    def begin(self) -> Iterator[tuple[int, str]]:
        """Give units to those who have room: a unit each, round by round, the least busy first."""
        while True:
            free = [
                name
                for name in self.members
                if self._under_way[name] < self._asked.at_a_time and self._next_of(name)
            ]
            if not free:
                return
            name = min(free, key=lambda one: self._under_way[one])
            self._under_way[name] += 1
            yield self._next_of(name).popleft(), name

    def end(self, name: str) -> None:
        """Note that a member has ended a unit."""
        self._under_way[name] -= 1

    def _next_of(self, name: str) -> deque[int]:
        return self._own[name] if self._asked.strategy == "round_robin" else self._common
