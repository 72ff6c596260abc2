"""Counter, register, set and map, whose merge is commutative, associative and idempotent.

They are delta-state CRDTs over causal contexts (Almeida, Shoker, Baquero: "Delta state replicated
data types", 2018): a change makes a small value, its delta, which is merged wherever it comes to,
in any order and any number of times. All are made of leaves, each a table of changes (dots) that
still count; what a context has seen and a leaf has not was removed or overwritten.

- counter (PN): of each replica the sum of its own steps, up or down
- register: the last writer's value; what was assigned at once is kept beside it
- set (add-wins, OR-set): a leaf for each element; a removal takes away the additions it has seen
- map: fields that are such values themselves, removed as elements of a set are
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any, Self

from agents.replicated.causality import CausalContext, Dot, parts_of

Store = dict[str, Any]
#: Changes that an entry names each; what stands for more of them has a version vector.
NAMED_MAX = 10_000
LEAVES = frozenset({"counter", "register", "element"})
TYPES = ("counter", "map", "register", "set")


def element_of(value: Any) -> str:
    """An element of a set as its key: equal values have equal keys.

    In ASCII, so that it is a key of any JSON, whatever halves of surrogate pairs a text has.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def inner_type(data_type: str, name: str) -> str:
    """The type of what stands under a name of a set or map."""
    return "element" if data_type == "set" else name.partition(":")[0]


@dataclass(frozen=True, slots=True)
class Replicated:
    """A value, with the changes that it has seen."""

    data_type: str
    store: Store = field(default_factory=dict)
    context: CausalContext = field(default_factory=CausalContext)

    def merge(self, other: Self) -> Self:
        """Merge another one of the same type: what both have seen counts once."""
        fresh = self.context.saw_none_of(other.context) if _is_small(other.context) else False
        seen = (self.context, other.context)
        store = _merged(self.data_type, self.store, other.store, seen, fresh=fresh)
        return type(self)(self.data_type, store, self.context.merge(other.context))

    @property
    def value(self) -> Any:
        """The value as JSON has it."""
        return read(self.data_type, self.store)

    def at(self, path: Iterable[str]) -> Self:
        """The field of maps within maps to which a path leads."""
        data_type, store = self.data_type, self.store
        for name in path:
            data_type, store = inner_type(data_type, name), store.get(name, {})
        return type(self)(data_type, store, self.context)

    @property
    def conflicts(self) -> list[Any]:
        """Other values of a register that were assigned at once, the later one first."""
        if self.data_type != "register":
            return []
        told = sorted(self.store.items(), key=_writer, reverse=True)
        return [payload[1] for _, payload in told[1:]]

    def as_json(self) -> dict[str, Any]:
        """It as a snapshot has it."""
        vector, cloud = dict(self.context.vector), sorted(self.context.cloud)
        return {"type": self.data_type, "store": self.store, "vector": vector, "cloud": cloud}

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Self:
        """Read what :meth:`as_json` made."""
        context = CausalContext(told["vector"], frozenset(told["cloud"]))
        return cls(told["type"], told["store"], context)

    def as_delta(self) -> dict[str, Any]:
        """A change as an entry has it: few changes were seen, and each is told."""
        seen = {f"{r}:{n}" for r, upto in self.context.vector.items() for n in range(1, upto + 1)}
        return {"store": self.store, "seen": sorted(seen | self.context.cloud)}

    def as_whole(self, named: int = NAMED_MAX) -> dict[str, Any]:
        """Many changes as one entry has them: each ``named``, or more of them as a version vector.

        A journal of an older version refuses that one.
        """
        if sum(self.context.counts().values()) <= named:
            return self.as_delta()
        vector, cloud = dict(self.context.vector), sorted(self.context.cloud)
        return {"store": self.store, "vector": vector, "cloud": cloud}

    @classmethod
    def from_delta(cls, data_type: str, told: Mapping[str, Any]) -> Self:
        """Read what :meth:`as_delta` or :meth:`as_whole` made."""
        return cls(data_type, told["store"], CausalContext.told(told))


def merge_all(parts: Sequence[Replicated]) -> Replicated:
    """Merge values; the first one, which may be large, at last, and once."""
    first, *others = parts
    while len(others) > 1:
        pairs: Any = zip_longest(others[::2], others[1::2])
        others = [one if other is None else one.merge(other) for one, other in pairs]
    return first.merge(*others) if others else first


def _is_small(context: CausalContext) -> bool:
    return sum(context.vector.values()) + len(context.cloud) <= 64  # noqa: PLR2004 - a change


def dots_in(data_type: str, store: Store) -> Iterator[Dot]:
    """All changes that count in a value."""
    if data_type in LEAVES:
        yield from store
        return
    for name, inner in store.items():
        yield from dots_in(inner_type(data_type, name), inner)


def read(data_type: str, store: Store) -> Any:
    """The value of a store, as JSON has it."""
    if data_type == "counter":
        return sum(store.values())
    if data_type == "register":
        return max(store.items(), key=_writer)[1][1] if store else None
    if data_type == "set":
        return [json.loads(element) for element in sorted(store)]
    found: dict[str, Any] = {}
    for name in sorted(store, key=_by_name):
        kind, _, short = name.partition(":")
        found[name if short in found else short] = read(kind, store[name])
    return found


def _by_name(field: str) -> tuple[str, str]:
    kind, _, short = field.partition(":")
    return short, kind


def _writer(told: tuple[Dot, Any]) -> Any:
    dot, (at, value) = told
    return at, parts_of(dot), element_of(value)


def _merged(
    data_type: str,
    mine: Store,
    theirs: Store,
    seen: tuple[CausalContext, CausalContext],
    *,
    fresh: bool,
) -> Store:
    """Merge two stores; ``fresh``: they have seen nothing of mine, so all of mine stays."""
    if data_type in LEAVES:
        return _merged_leaf(data_type, mine, theirs, seen)
    found = dict(mine) if fresh else {}
    for name in theirs if fresh else {**mine, **theirs}:
        both = (mine.get(name, {}), theirs.get(name, {}))
        inner = _merged(inner_type(data_type, name), *both, seen, fresh=fresh)
        if inner:
            found[name] = inner
        else:
            found.pop(name, None)
    return found


def _merged_leaf(
    data_type: str, mine: Store, theirs: Store, seen: tuple[CausalContext, CausalContext]
) -> Store:
    greater = _GREATER.get(data_type, max)
    found = {dot: greater(mine[dot], theirs[dot]) for dot in mine if dot in theirs}
    found |= {dot: one for dot, one in mine.items() if dot not in theirs and dot not in seen[1]}
    found |= {dot: one for dot, one in theirs.items() if dot not in mine and dot not in seen[0]}
    return found


def _greater_writer(one: Any, other: Any) -> Any:
    return max(one, other, key=lambda told: (told[0], element_of(told[1])))


#: One change has one payload; where it has two, a journal was copied, and all agree on one of them.
_GREATER: dict[str, Callable[[Any, Any], Any]] = {"register": _greater_writer}
