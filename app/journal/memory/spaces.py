"""Rows of spaces: found by tenant and name alone, held by whoever changes what a space has.

Where texts are encrypted, a space has a key of its own for its terms, which is encrypted as they
are. So a rotation renews that key's token and no term; the same word has other terms in another
space; and with the row all terms are gone that anybody could try words against.

Lock order: rows of spaces come behind those of sessions, by tenant and name (see locks.py).
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import Connection, bindparam, select, update

from agents.memory.ranking import SpaceNumbers
from agents.memory.terms import keyed
from app.journal.schema.engine import read_clock
from app.journal.schema.models import MemorySpace, table
from app.journal.schema.sealed import sealed_by, stream_place
from app.journal.schema.upsert import insertion
from celery_agents.contracts.memory import MemoryPolicy
from celery_agents.sealing import Seals, opened

T = TypeVar("T")
_P = table(MemorySpace).c
#: The field of a space in which the key of its terms stands.
_KEY = "memory key"
_KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class Space:
    """A space as its row has it."""

    id: int
    language: str
    key: bytes | None  # of its terms
    capacity_tokens: int
    next_place: int
    next_vector: int
    tokens: int
    statistics: SpaceNumbers

    def form(self, term: str) -> str:
        """The term as it is written."""
        return term if self.key is None else keyed(term, self.key)

    def forms(self, term: str) -> tuple[str, ...]:
        """The forms that it may have: plain where it was written before there were keys."""
        return (term,) if self.key is None else (keyed(term, self.key), term)


def portions(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Give a list in portions: a statement takes so many values."""
    return (items[at : at + size] for at in range(0, len(items), size))


def found(connection: Connection, tenant: str, name: str) -> Space | None:
    """The space of that name, as a reader sees it.

    Raises:
        UnreadableValueError: the key of its terms is encrypted with one that is missing.
    """
    row = connection.execute(_FIND, {"b_tenant": tenant, "b_name": name}).first()
    return None if row is None else read(row, sealed_by(connection))


def listed(connection: Connection, tenant: str, limit: int) -> list[tuple[str, int]]:
    """Spaces of a tenant, each with the number of its memories; those that changed last first."""
    rows = connection.execute(_LIST, {"b_tenant": tenant, "b_limit": limit})
    return [(row.name, row.memories) for row in rows]


def stamp(connection: Connection, tenant: str, name: str) -> tuple[Any, ...] | None:
    """Figures that change with what a space has; None: there is none."""
    row = connection.execute(_STAMP, {"b_tenant": tenant, "b_name": name}).first()
    return None if row is None else tuple(row)


def held(connection: Connection, tenant: str, name: str) -> Space | None:
    """The same, locked until the transaction ends."""
    row = connection.execute(_HOLD, {"b_tenant": tenant, "b_name": name}).first()
    return None if row is None else read(row, sealed_by(connection))


def begun(connection: Connection, tenant: str, name: str, policy: MemoryPolicy) -> Space:
    """The same, made on the way if there is none, with this policy's capacity from now on."""
    seals, about = sealed_by(connection), {"b_tenant": tenant, "b_name": name}
    # Again where somebody has erased it in between.
    while (row := connection.execute(_HOLD, about).first()) is None:
        at = read_clock(connection)
        new = {
            "tenant": tenant,
            "name": name,
            "language": policy.language,
            "changed_at": at,
            "capacity_tokens": policy.capacity_tokens,
            "secret": None,
            "next_place": 0,
            "next_vector": 0,
            "memories": 0,
            "length": 0,
            "tokens": 0,
        }
        connection.execute(insertion(connection.dialect.name, MemorySpace), [new])
    values: dict[Any, Any] = {}
    if row.capacity_tokens != policy.capacity_tokens:
        values[_P.capacity_tokens] = policy.capacity_tokens
    if seals is not None and row.secret is None:
        key = secrets.token_hex(_KEY_BYTES)
        values[_P.secret] = seals.seal(key, stream_place(tenant, name), _KEY)
    if values:
        connection.execute(update(table(MemorySpace)).where(_P.id == row.id).values(values))
        row = connection.execute(_FIND, about).one()
    return read(row, seals)


def count(
    connection: Connection,
    space: Space,
    *,
    memories: int = 0,
    length: int = 0,
    tokens: int = 0,
    places: int = 0,
    vectors: int = 0,
) -> None:
    """Change the numbers of a space that is held."""
    more = {"b_memories": memories, "b_length": length, "b_tokens": tokens, "b_places": places}
    more["b_vectors"] = vectors
    at = read_clock(connection)
    connection.execute(_COUNT, {"b_id": space.id, "b_at": at, **more})


_THIS = (_P.tenant == bindparam("b_tenant")) & (_P.name == bindparam("b_name"))
_FIND = select(table(MemorySpace)).where(_THIS)
_HOLD = _FIND.with_for_update()
_STAMP = select(_P.id, _P.memories, _P.next_place, _P.tokens, _P.changed_at).where(_THIS)
_LIST = (
    select(_P.name, _P.memories)
    .where(_P.tenant == bindparam("b_tenant"))
    .order_by(_P.changed_at.desc(), _P.name)
    .limit(bindparam("b_limit"))
)
_COUNT = (
    update(table(MemorySpace))
    .where(_P.id == bindparam("b_id"))
    .values(
        memories=_P.memories + bindparam("b_memories"),
        length=_P.length + bindparam("b_length"),
        tokens=_P.tokens + bindparam("b_tokens"),
        next_place=_P.next_place + bindparam("b_places"),
        next_vector=_P.next_vector + bindparam("b_vectors"),
        changed_at=bindparam("b_at"),
    )
)


def read(row: Any, seals: Seals | None) -> Space:
    """Return the space of a row. Raises as :func:`found`."""
    key = None
    if row.secret is not None:
        key = bytes.fromhex(opened(seals, row.secret, stream_place(row.tenant, row.name), _KEY))
    numbers = SpaceNumbers(row.memories, row.length)
    sizes = (row.capacity_tokens, row.next_place, row.next_vector, row.tokens)
    return Space(row.id, row.language, key, *sizes, numbers)
