"""Vectors of memories that are everybody's, and a mirror of them in each process that compares.

Each stands with the name of the agent that made it, and is compared with vectors of that one alone.
They are numbered in their space as they come, so a mirror reads what is new to it and nothing else.
What has ended since then, or has less trust than is asked for, takes nobody's place: the nearest
ones are looked up until there are enough of those that may be told.
"""

from __future__ import annotations

import base64
import threading
from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import Connection, bindparam, case, delete, insert, select

from app.journal.memory import spaces, weighing
from app.journal.memory.copied import copied
from app.journal.memory.spaces import Space, portions
from app.journal.schema.models import MemoryRow, MemoryVector, table
from app.journal.schema.rows import TextVector
from app.journal.schema.sealed import opened_vector, sealed_by, sealed_vector

if TYPE_CHECKING:
    import numpy as np

_V = table(MemoryVector).c
_M = table(MemoryRow).c
#: Bytes of vectors that a process mirrors. What a space has beyond that is read for each question.
MIRRORED_BYTES = 256 * 1024 * 1024
#: Bytes of a mirror beside its vectors: of many spaces with few each, these count.
_BESIDE_BYTES = 1_024
#: Vectors that one statement reads, and those that are put into one array with what comes later.
PORTION, TOGETHER = 4_096, 1_024
#: Memories that are looked up, of those found by their vectors; and so many are enough of them.
NEAREST, ENOUGH = 300, 150
#: Places that one statement names.
_PAGE = 200


def enter(
    connection: Connection, space: Space, vectors: Mapping[int, TextVector], *, alone: bool = False
) -> None:
    """Write vectors of memories by their places; ``alone``: in place of those of other agents."""
    if not vectors:
        return
    if alone:
        leave(connection, space, [*vectors])
    seals, number = sealed_by(connection), space.next_vector
    rows = [
        {
            "space_id": space.id,
            "number": number + n,
            "place": place,
            "model": vector.model,
            "data": sealed_vector(seals, vector.told()[1], space.id, place) if seals else {},
            "vector": None if seals else vector.data,
        }
        for n, (place, vector) in enumerate(sorted(vectors.items()))
    ]
    connection.execute(insert(table(MemoryVector)), rows)
    spaces.count(connection, space, vectors=len(rows))


def leave(connection: Connection, space: Space, places: Sequence[int]) -> None:
    """Delete the vectors of memories."""
    for some in portions(places, _PAGE):
        connection.execute(_LEAVE, {"b_space": space.id, "b_places": some})


_HERE = _V.space_id == bindparam("b_space")
_LEAVE = delete(table(MemoryVector)).where(
    _HERE, _V.place.in_(bindparam("b_places", expanding=True))
)


def lacking(
    connection: Connection, space: Space, model: str, after: int, most: int
) -> Sequence[Any]:
    """Rows of memories behind a place, in their order, that have no vector of an agent."""
    about = {"b_space": space.id, "b_model": model, "b_after": after, "b_most": most}
    return connection.execute(_LACKING, about).all()


_LACKING = (
    select(table(MemoryRow))
    .where(
        _M.space_id == bindparam("b_space"),
        _M.state == "live",
        _M.place > bindparam("b_after"),
        ~select(_V.number)
        .where(
            _V.space_id == _M.space_id,
            _V.place == _M.place,
            _V.model == bindparam("b_model"),
        )
        .exists(),
    )
    .order_by(_M.place)
    .limit(bindparam("b_most"))
)


class Mirrors:
    """The vectors that a process has read, those used last."""

    def __init__(self) -> None:
        self._mirrors: OrderedDict[tuple[int, str], _Mirror] = OrderedDict()
        #: The bytes of each when it was last asked, and their sum: there may be very many.
        self._sizes: dict[tuple[int, str], int] = {}
        self._bytes = 0
        self._lock = threading.Lock()

    def near(
        self,
        connection: Connection,
        space: Space,
        question: TextVector,
        others: Collection[int],
        trust: int = 1,
    ) -> dict[int, int]:
        """Return how near the nearest memories of a trust are, and the ``others``, in thousandths.

        From 0, which is the farthest one of the space, to 1,000, the nearest.
        """
        mirror = self._mirror(key := (space.id, question.model))
        with mirror.lock:
            if mirror.rows > 2 * space.statistics.memories + PORTION:  # most of it is over
                mirror.clear()
            mirror.last = self._read(connection, space, question.model, mirror)
            self._make_room(key, mirror)
            blocks, last = mirror.blocks, mirror.last
            full = mirror.bytes >= MIRRORED_BYTES
        compared = [block.compared(question.data) for block in blocks]
        if full:
            more = _newer(connection, space, question.model, last)
            compared += [b.compared(question.data) for portion in more for b in portion.blocks]
        seen = _Cosines.of(compared, twice=full)
        chosen, over = seen.chosen(connection, space, trust)
        if over:
            with mirror.lock:
                mirror.drop(over)
        return seen.without(over).points([*chosen, *others])

    def drop(self, space: Space, model: str, places: Collection[int]) -> None:
        """Forget memories that are over."""
        with self._lock:
            mirror = self._mirrors.get((space.id, model))
        if mirror is not None:
            with mirror.lock:
                mirror.drop(places)

    def _mirror(self, key: tuple[int, str]) -> _Mirror:
        with self._lock:
            mirror = self._mirrors.setdefault(key, _Mirror())
            self._mirrors.move_to_end(key)
            return mirror

    @staticmethod
    def _read(connection: Connection, space: Space, model: str, mirror: _Mirror) -> int:
        """Read what is new to a mirror, as far as there is room; the number of the last one."""
        last = mirror.last
        if mirror.bytes < MIRRORED_BYTES:
            for portion in _newer(connection, space, model, last):
                mirror.add(portion.blocks)
                last = portion.last
                if mirror.bytes >= MIRRORED_BYTES:
                    break
        return last

    def _make_room(self, key: tuple[int, str], mirror: _Mirror) -> None:
        with self._lock:
            if self._mirrors.get(key) is mirror:  # else others have needed its room
                size = mirror.bytes + _BESIDE_BYTES
                self._bytes += size - self._sizes.get(key, 0)
                self._sizes[key] = size
            while len(self._mirrors) > 1 and self._bytes > MIRRORED_BYTES:
                gone, _ = self._mirrors.popitem(last=False)
                self._bytes -= self._sizes.pop(gone, 0)


class _Block(NamedTuple):
    """Vectors of one length, with their places."""

    places: np.ndarray[Any, Any]
    rows: np.ndarray[Any, Any]

    def compared(self, asked: bytes) -> tuple[Any, Any]:
        """The places, and the cosines with a vector; nothing where it is of another length."""
        import numpy as np

        row = np.frombuffer(asked, dtype=np.float32)
        if len(row) != self.rows.shape[1]:
            return self.places[:0], np.empty(0, dtype=np.float32)
        # Not by BLAS, whose threads wait for each other longer than they compute on a busy machine.
        return self.places, np.einsum("ij,j->i", self.rows, row)

    def without(self, places: Any) -> _Block:
        """It without some places."""
        import numpy as np

        here = ~np.isin(self.places, places)
        return self if here.all() else _Block(self.places[here], self.rows[here])

    def with_more(self, more: _Block) -> _Block:
        """It with others behind."""
        import numpy as np

        places = np.concatenate([self.places, more.places])
        return _Block(places, np.concatenate([self.rows, more.rows]))


class _Portion(NamedTuple):
    """Vectors that one statement has read, and the number of the last one."""

    last: int
    blocks: list[_Block]


def _newer(connection: Connection, space: Space, model: str, last: int) -> Iterator[_Portion]:
    """Read the vectors of an agent behind a number, a portion at a time."""
    seals = sealed_by(connection)
    about = {"b_space": space.id, "b_model": model, "b_most": PORTION}
    many = connection.dialect.name == "postgresql" and seals is None
    while many and space.next_vector - last > PORTION:
        if (read := copied(connection, {**about, "b_last": last})) is None:
            break
        last = int(read.numbers[-1])
        yield _Portion(last, [_Block(read.places, read.rows)])
    while rows := connection.execute(_NEWER, {**about, "b_last": last}).all():
        told: dict[int, tuple[list[int], list[bytes]]] = {}
        for _, place, vector, data in rows:
            kept = vector or base64.b64decode(opened_vector(seals, data, space.id, place))
            places, some = told.setdefault(len(kept), ([], []))
            places.append(place)
            some.append(kept)
        last = rows[-1].number
        yield _Portion(last, [_block(*one) for one in told.values()])
        if len(rows) < PORTION:
            break


def _block(places: Sequence[int], vectors: Sequence[bytes]) -> _Block:
    import numpy as np

    rows = np.frombuffer(b"".join(vectors), dtype=np.float32).reshape(len(places), -1)
    return _Block(np.asarray(places, dtype=np.int64), rows)


_NEWER = (
    # JSON is read of those rows alone that have nothing else.
    select(_V.number, _V.place, _V.vector, case((_V.vector.is_(None), _V.data)))
    .where(_HERE, _V.model == bindparam("b_model"), _V.number > bindparam("b_last"))
    .order_by(_V.number)
    .limit(bindparam("b_most"))
)


class _Mirror:
    """The vectors of one space that one agent made. Who changes it holds its lock."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.clear()

    def clear(self) -> None:
        """Forget all."""
        self.last = -1
        self.blocks: tuple[_Block, ...] = ()

    @property
    def bytes(self) -> int:
        return sum(int(block.rows.nbytes) for block in self.blocks)

    @property
    def rows(self) -> int:
        return sum(len(block.places) for block in self.blocks)

    def add(self, new: Iterable[_Block]) -> None:
        """Add vectors, in place of those that their memories had."""
        for more in new:
            blocks = self._without(more.places)
            width, room = more.rows.shape[1], TOGETHER - len(more.places)
            for n, old in enumerate(blocks):
                if old.rows.shape[1] == width and len(old.places) <= room:
                    blocks[n] = old.with_more(more)
                    break
            else:
                blocks.append(more)
            self.blocks = tuple(blocks)

    def drop(self, places: Collection[int]) -> None:
        """Forget those of some places."""
        self.blocks = tuple(self._without([*places]))

    def _without(self, places: Any) -> list[_Block]:
        import numpy as np

        gone = np.asarray(places, dtype=np.int64)
        left = [block.without(gone) for block in self.blocks]
        return [block for block in left if len(block.places)]


class _Cosines(NamedTuple):
    """How near all vectors of a space are to one."""

    places: np.ndarray[Any, Any]
    cosines: np.ndarray[Any, Any]

    @classmethod
    def of(cls, parts: Sequence[tuple[Any, Any]], *, twice: bool) -> _Cosines:
        """Those of blocks; where a place may stand ``twice``, the newest one counts."""
        import numpy as np

        if not parts:
            return cls(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32))
        places, cosines = (np.concatenate(column) for column in zip(*parts, strict=True))
        if not twice:
            return cls(places, cosines)
        alone, last = np.unique(places[::-1], return_index=True)
        return cls(alone, cosines[::-1][last])

    def chosen(self, connection: Connection, space: Space, trust: int) -> tuple[set[int], set[int]]:
        """The nearest places with the trust whose memories are there still; those that are over."""
        import numpy as np

        looked: dict[int, int] = {}
        count = 0
        while count < len(self.places):
            count = min(count * 4 or NEAREST, len(self.places))
            nearest = self.places[np.argpartition(-self.cosines, count - 1)[:count]]
            new = [place for place in nearest.tolist() if place not in looked]
            looked |= dict.fromkeys(new, 0) | weighing.trusts_of(connection, space, new)
            if sum(has >= trust for has in looked.values()) >= ENOUGH:
                break
        fitting = {place for place, has in looked.items() if has >= trust}
        return fitting, {place for place, has in looked.items() if not has}

    def without(self, places: Collection[int]) -> _Cosines:
        """They without some places."""
        if not places:
            return self
        here = ~self._at(places)
        return _Cosines(self.places[here], self.cosines[here])

    def points(self, places: Collection[int]) -> dict[int, int]:
        """How near some are, in thousandths, by their places."""
        import numpy as np

        if not len(self.places):
            return {}
        least, most = float(self.cosines.min()), float(self.cosines.max())
        wide = (most - least) or 1.0
        return {
            int(self.places[n]): round((float(self.cosines[n]) - least) / wide * 1_000)
            for n in np.flatnonzero(self._at(places)).tolist()
        }

    def _at(self, places: Collection[int]) -> Any:
        import numpy as np

        return np.isin(self.places, np.asarray([*places], dtype=np.int64))
