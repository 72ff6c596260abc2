"""Vectors of memories that are everybody's, and a mirror of them in each process that compares.

Each stands with the name of the agent that made it, and is compared with vectors of that one alone.
They are numbered in their space as they come, so a mirror reads what is new to it and nothing else.
What has ended since then is dropped there when a search comes upon it.
"""

from __future__ import annotations

import base64
import threading
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import Connection, bindparam, delete, insert, select

from app.journal.memory import spaces
from app.journal.memory.spaces import Space, portions
from app.journal.schema.models import MemoryRow, MemoryVector, table
from app.journal.schema.rows import TextVector
from app.journal.schema.sealed import opened_vector, sealed_by, sealed_vector

if TYPE_CHECKING:
    import numpy as np

_V = table(MemoryVector).c
_M = table(MemoryRow).c
#: Bytes of vectors that a process mirrors, but for those of one space, however many they are.
MIRRORED_BYTES = 256 * 1024 * 1024
#: Memories that are found by their vectors at the most.
NEAREST = 300
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
            "data": sealed_vector(seals, vector.told()[1], space.id, place),
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
        self._lock = threading.Lock()

    def near(
        self, connection: Connection, space: Space, question: TextVector, others: Collection[int]
    ) -> dict[int, int]:
        """Return how near the nearest memories are, and the ``others``, in thousandths.

        From 0, which is the farthest one of the space, to 1,000, the nearest.
        """
        key = space.id, question.model
        with self._lock:
            mirror = self._mirrors.setdefault(key, _Mirror())
            self._mirrors.move_to_end(key)
            about = {"b_space": space.id, "b_model": question.model, "b_last": mirror.last}
            mirror.add(connection.execute(_NEWER, about), sealed_by(connection), space.id)
            while len(self._mirrors) > 1 and self._bytes() > MIRRORED_BYTES:
                self._mirrors.popitem(last=False)
            seen = mirror.seen()
        return _near(seen, question.data, others)

    def drop(self, space: Space, model: str, places: Collection[int]) -> None:
        """Forget memories that are over."""
        with self._lock:
            if (mirror := self._mirrors.get((space.id, model))) is not None:
                mirror.drop(places)

    def _bytes(self) -> int:
        return sum(mirror.bytes for mirror in self._mirrors.values())


_NEWER = (
    select(_V.number, _V.place, _V.data)
    .where(_HERE, _V.model == bindparam("b_model"), _V.number > bindparam("b_last"))
    .order_by(_V.number)
)


class _Seen(NamedTuple):
    places: np.ndarray[Any, Any]
    rows: np.ndarray[Any, Any]


class _Mirror:
    """The vectors of one space that one agent made."""

    def __init__(self) -> None:
        self.last = -1
        self._seen: _Seen | None = None

    @property
    def bytes(self) -> int:
        return 0 if self._seen is None else int(self._seen.rows.nbytes)

    def seen(self) -> _Seen | None:
        return self._seen

    def add(self, found: Any, seals: Any, space_id: int) -> None:
        import numpy as np

        places: list[int] = []
        rows: list[np.ndarray[Any, Any]] = []
        for number, place, data in found:
            told = base64.b64decode(opened_vector(seals, data, space_id, place))
            row = np.frombuffer(told, dtype=np.float32)
            self.last = number
            size = len(row) if self._seen is None else self._seen.rows.shape[1]
            if len(row) == (len(rows[0]) if rows else size):
                places.append(place)
                rows.append(row)
        if not places:
            return
        new = _Seen(np.asarray(places), np.stack(rows))
        if (old := self._seen) is not None:
            here = ~np.isin(old.places, new.places)
            kept = (old.places[here], new.places), (old.rows[here], new.rows)
            new = _Seen(np.concatenate(kept[0]), np.concatenate(kept[1]))
        self._seen = new

    def drop(self, places: Collection[int]) -> None:
        import numpy as np

        if (old := self._seen) is not None:
            here = ~np.isin(old.places, np.asarray([*places]))
            self._seen = _Seen(old.places[here], old.rows[here])


def _near(seen: _Seen | None, question: bytes, others: Collection[int]) -> dict[int, int]:
    import numpy as np

    asked = np.frombuffer(question, dtype=np.float32)
    if seen is None or not len(seen.places) or seen.rows.shape[1] != len(asked):
        return {}
    cosines = seen.rows @ asked
    least, most = float(cosines.min()), float(cosines.max())
    wide = (most - least) or 1.0
    count = min(NEAREST, len(cosines))
    chosen = np.argpartition(-cosines, count - 1)[:count]
    among = np.flatnonzero(np.isin(seen.places, np.asarray([*others], dtype=np.int64)))
    return {
        int(seen.places[n]): round((float(cosines[n]) - least) / wide * 1_000)
        for n in {*chosen.tolist(), *among.tolist()}
    }
