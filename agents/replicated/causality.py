"""Which changes a value has seen: version vectors, with what came ahead of its turn.

A *dot* is one change: the replica that made it, and its number there, as ``replica:number``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

Dot = str
#: Digits of a number.
_DIGITS_MAX = 18
#: How one version stands to another.
Order = Literal["equal", "before", "after", "concurrent"]


def dot_of(replica: str, number: int) -> Dot:
    """Name a change of a replica."""
    return f"{replica}:{number}"


def parts_of(dot: Dot) -> tuple[str, int]:
    """The replica and the number of a change.

    Raises:
        ValueError: it is none.
    """
    replica, _, number = dot.rpartition(":")
    digits = number.isascii() and number.isdecimal() and len(number) <= _DIGITS_MAX
    if not replica or not digits or number.startswith("0"):
        raise ValueError(f"{dot!r} is no change of a replica")
    return replica, int(number)


@dataclass(frozen=True, slots=True)
class CausalContext:
    """The changes that a value has seen."""

    #: Of each replica all changes up to this one.
    vector: Mapping[str, int] = field(default_factory=dict)
    #: Those that came before one that they follow.
    cloud: frozenset[Dot] = frozenset()

    @classmethod
    def of(cls, dots: Iterable[Dot]) -> Self:
        """The context of these changes alone."""
        return cls._compact({}, dots)

    @classmethod
    def told(cls, told: Mapping[str, Any]) -> Self:
        """The context of a delta, as an entry has it: each change, or how many of each replica."""
        if "seen" in told:
            return cls.of(told["seen"])
        return cls._compact(told["vector"], told["cloud"])

    @classmethod
    def _compact(cls, vector: Mapping[str, int], dots: Iterable[Dot]) -> Self:
        upto, left = dict(vector), set[Dot]()
        for replica, number in sorted(map(parts_of, dots)):
            if number == upto.get(replica, 0) + 1:
                upto[replica] = number
            elif number > upto.get(replica, 0):
                left.add(dot_of(replica, number))
        return cls(upto, frozenset(left))

    def __contains__(self, dot: object) -> bool:
        if dot in self.cloud:
            return True
        replica, number = parts_of(str(dot))
        return number <= self.vector.get(replica, 0)

    def merge(self, other: Self) -> Self:
        """All changes that either has seen."""
        vector = {
            replica: max(self.vector.get(replica, 0), other.vector.get(replica, 0))
            for replica in {**self.vector, **other.vector}
        }
        return self._compact(vector, self.cloud | other.cloud)

    def next_of(self, replica: str) -> Dot:
        """The next change of a replica; all of its own must have been seen here."""
        return dot_of(replica, self.upto(replica) + 1)

    def upto(self, replica: str) -> int:
        """The number of a replica's last change that was seen; 0: none was."""
        ahead = [n for of, n in map(parts_of, self.cloud) if of == replica]
        return max([self.vector.get(replica, 0), *ahead])

    def counts(self) -> dict[str, int]:
        """Of each replica, how many of its changes were seen."""
        found = dict(self.vector)
        for replica, _ in map(parts_of, sorted(self.cloud)):
            found[replica] = found.get(replica, 0) + 1
        return found

    def compare(self, other: Self) -> Order:
        """How it stands to another: whether one has seen all that the other one has."""
        both = self.merge(other)
        mine, theirs = both == self, both == other
        if mine and theirs:
            return "equal"
        return "after" if mine else "before" if theirs else "concurrent"

    def saw_none_of(self, other: Self) -> bool:
        """Return whether it has seen nothing of another one, which is small."""
        dots = {dot_of(r, n) for r, upto in other.vector.items() for n in range(1, upto + 1)}
        return not any(dot in self for dot in dots | other.cloud)
