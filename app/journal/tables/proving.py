"""Going through the chain of acts: whatever is not as it was written is found, and named."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from sqlalchemy import Row

from app.journal.tables.audit import ERASURE, End, digest, erased, link

_TEXTS = ("actor", "tenant", "action", "target", "data_digest", "hash")


class Tampering(NamedTuple):
    """A place where the chain is not as it was written."""

    kind: str
    #: The first entry that it is about, and the last one.
    seq: int
    last: int
    told: str


class _Emptied:
    """Entries without data of which no erasure is known yet, as spans in their order."""

    def __init__(self) -> None:
        self.spans: list[tuple[int, int]] = []

    def add(self, seq: int) -> None:
        """Add the next one."""
        if self.spans and self.spans[-1][1] == seq - 1:
            self.spans[-1] = self.spans[-1][0], seq
        else:
            self.spans.append((seq, seq))

    def explain(self, first: int, last: int) -> None:
        """Take away those that an erasure says it has erased."""
        rest = []
        for a, b in self.spans:
            rest += [(a, min(b, first - 1)), (max(a, last + 1), b)]
        self.spans = [(a, b) for a, b in rest if a <= b]


def verified(
    entries: Iterable[Row[Any]],
    before: End | None,
    after: Callable[[], End | None],
    anchors: Iterable[End],
    counted: Callable[[int], tuple[int, int]],
) -> Iterator[Tampering]:
    """Go through a chain: yield each place where it is not as it was written.

    Args:
        entries: all of them, in their order.
        before: where the database said that the chain ends, before they were read.
        after: says it again, once they were: others may have been added meanwhile.
        anchors: ends that were kept elsewhere.
        counted: says how many entries there are to a number, and how many ends.
    """
    proof = _Proof(before, anchors)
    for entry in entries:
        yield from proof.read(entry)
    yield from proof.end(after(), counted)


class _Proof:
    """A chain as far as it was gone through."""

    def __init__(self, told: End | None, anchors: Iterable[End]) -> None:
        self._kept: defaultdict[int, set[str]] = defaultdict(set)
        for anchor in anchors:
            self._kept[anchor.seq].add(anchor.hash)
        self._told = {0: ""}
        if told is not None and _is_end(told):
            self._told[told.seq] = told.hash
        self._emptied = _Emptied()
        self._rows = self._at = 0
        self._hash = ""

    def read(self, entry: Row[Any]) -> Iterator[Tampering]:
        """Look at the next entry."""
        is_number = isinstance(entry.seq, int)
        self._rows += is_number
        if not is_number or entry.seq < 1:
            seq = entry.seq if is_number else self._at + 1
            yield Tampering("inserted", seq, seq, "no entry has such a number")
            return
        if entry.seq > self._at + 1:
            yield Tampering("deleted", self._at + 1, entry.seq - 1, "entries are missing")
        elif not _is_linked(self._hash, entry):
            yield Tampering("changed", entry.seq, entry.seq, "the entry is another one")
        yield from self._data_of(entry)
        if self._told.get(entry.seq, entry.hash) != entry.hash:
            yield Tampering("changed", entry.seq, entry.seq, "the end was another one")
        if self._kept.pop(entry.seq, {entry.hash}) != {entry.hash}:
            yield Tampering("rewritten", entry.seq, entry.seq, "it was kept elsewhere as another")
        self._at, self._hash = entry.seq, entry.hash

    def _data_of(self, entry: Row[Any]) -> Iterator[Tampering]:
        if entry.data is None and entry.action != ERASURE:
            self._emptied.add(entry.seq)
        elif not isinstance(entry.data, str) or digest(entry.data) != entry.data_digest:
            yield Tampering("changed", entry.seq, entry.seq, "its data are others")
        if (span := _erased(entry)) is not None:
            self._emptied.explain(*span)

    def end(
        self, told: End | None, counted: Callable[[int], tuple[int, int]]
    ) -> Iterator[Tampering]:
        """Look at what there is beside the entries, once all were read."""
        for first, last in self._emptied.spans:
            yield Tampering("emptied", first, last, "no entry says that their data were erased")
        if (last := max([*self._told, *self._kept])) > self._at:
            yield Tampering("cut", self._at + 1, last, "entries are missing at the end")
        if self._at > (seq := told.seq if told is not None and _is_end(told) else 0):
            yield Tampering("inserted", seq + 1, self._at, "entries stand behind the end")
        if self._told[0]:
            yield Tampering("changed", 0, 0, "the end was another one")
        rows, ends = counted(self._at)
        if rows != self._rows:
            yield Tampering("doubled", 1, self._at, "entries stand there more than once")
        if ends != (told is not None):
            yield Tampering("doubled", self._at, self._at, "there are other ends")


def _erased(entry: Row[Any]) -> tuple[int, int] | None:
    """Return of which entries before it an entry has erased the data; None: it is no erasure."""
    if entry.action != ERASURE or not isinstance(entry.target, str):
        return None
    span = erased(entry.target)
    return span if span is not None and span[1] < entry.seq else None


def _is_end(end: End) -> bool:
    return isinstance(end.seq, int) and isinstance(end.hash, str)


def _is_linked(before: Any, entry: Row[Any]) -> bool:
    """Return whether an entry is the one that was written; SQLite's columns hold anything."""
    row = dict(entry._mapping)  # noqa: SLF001 - SQLAlchemy's name
    if not (isinstance(row["at"], float) and all(isinstance(row[name], str) for name in _TEXTS)):
        return False
    return bool(link(before, row) == entry.hash)
