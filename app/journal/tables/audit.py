"""Acts in a chain of hashes: what is added, and what is found when the chain is gone through.

The hash of an entry is SHA-256 of the one before and of all that the entry says, its data by their
digest alone, so that data may be erased: by a later entry, which says of which entries. Who can
write to the database can make a whole new chain; against that, ends of the chain are kept outside
of it (see app/journal/stores/audit.py). What is found when it is gone through: proving.py.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Row, bindparam, func, insert, select, update

from app.journal.schema.engine import now, read_clock
from app.journal.schema.models import AuditEntry, AuditHead, table
from app.journal.schema.upsert import insert_new
from celery_agents.errors import redact
from celery_agents.redaction.cleaning import clean
from celery_agents.values import jsonable

#: Characters of what an entry says, as its columns take them.
_ACTOR, _TENANT, _ACTION, _TARGET = 200, 64, 60, 200
#: Characters of a text within the data.
_TEXT = 500
_ENTRIES, _HEAD = table(AuditEntry), table(AuditHead)
_IS_HEAD = AuditHead.one == 1
_LOCK = select(AuditHead.seq, AuditHead.hash).where(_IS_HEAD).with_for_update()
_ADD = insert(_ENTRIES)
_MOVE = update(_HEAD).where(_IS_HEAD).values(seq=bindparam("to"), hash=bindparam("with_hash"))
#: As ``json.dumps`` with these options, which would make an encoder each time.
_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode
#: What an entry says of an act, by its columns.
Entry = dict[str, Any]
#: The act that erases data. Its target says of which entries, as the hash covers it; so its own
#: data, which hold nothing, stay.
ERASURE = "audit.erase"


@dataclass(frozen=True, slots=True)
class Act:
    """Something that somebody does, or is denied."""

    actor: str
    action: str
    target: str = ""
    tenant: str = ""
    data: dict[str, Any] = field(default_factory=dict)


class End(NamedTuple):
    """The end of the chain."""

    seq: int
    hash: str


def add(connection: Connection, acts: Iterable[Act]) -> End:
    """Add acts to the chain, in their order; its new end."""
    return append(connection, [entry(act) for act in acts])


def append(
    connection: Connection, entries: list[Entry], more: Callable[[], Iterable[Entry]] = tuple
) -> End:
    """Add entries to the chain, in their order; its new end.

    ``more`` is asked once nobody else adds: for what has come meanwhile, which is added to them.
    """
    end = _hold(connection)
    at = read_clock(connection)
    entries.extend(more())
    rows = []
    for told in entries:
        row = {"seq": end.seq + 1, "at": at, **told}
        row["hash"] = link(end.hash, row)
        end = End(row["seq"], row["hash"])
        rows.append(row)
    connection.execute(_ADD, rows)
    connection.execute(_MOVE, {"to": end.seq, "with_hash": end.hash})
    return end


def _hold(connection: Connection) -> End:
    """Return the end of the chain, to which nobody else adds in the meantime."""
    found = connection.execute(_LOCK).one_or_none()
    if found is None:  # nothing was ever written down
        connection.execute(insert_new(connection, AuditHead).values(one=1, seq=0, hash=""))
        found = connection.execute(_LOCK).one()
    return End(*found)


def entry(act: Act) -> Entry:
    """Return what an act's entry says, whatever its place will be: no lock is held meanwhile."""
    data = _encode(clean(jsonable(act.data), limit=_TEXT)) if act.data else "{}"
    return {
        "actor": redact(act.actor, limit=_ACTOR),
        "tenant": act.tenant and redact(act.tenant, limit=_TENANT),
        "action": redact(act.action, limit=_ACTION),
        "target": redact(act.target, limit=_TARGET),
        "data": data,
        "data_digest": digest(data),
    }


def digest(data: str) -> str:
    """Return the digest of an entry's data."""
    return hashlib.sha256(data.encode()).hexdigest()


def link(before: str, row: dict[str, Any]) -> str:
    """Return the hash of an entry behind the one whose hash is given."""
    told = _encode([row[name] for name in _COVERED])
    return hashlib.sha256(f"{before}{told}".encode()).hexdigest()


_COVERED = ("seq", "at", "actor", "tenant", "action", "target", "data_digest")


def end(connection: Connection) -> End | None:
    """Return where the chain says that it ends; None where nothing was ever written down."""
    found = connection.execute(select(AuditHead.seq, AuditHead.hash).where(_IS_HEAD)).one_or_none()
    return None if found is None else End(*found)


def page(connection: Connection, after: int | None, most: int) -> Sequence[Row[Any]]:
    """Return entries in their order, those behind ``after``; from the lowest number on: None."""
    query = select(_ENTRIES).order_by(AuditEntry.seq).limit(most)
    if after is not None:
        query = query.where(AuditEntry.seq > after)
    return connection.execute(query).all()


def counted(connection: Connection, upto: int) -> tuple[int, int]:
    """Return how many entries there are to a number, and how many ends."""
    entries = select(func.count()).select_from(_ENTRIES).where(AuditEntry.seq <= upto)
    ends = select(func.count()).select_from(_HEAD)
    return connection.execute(entries).scalar_one(), connection.execute(ends).scalar_one()


def newest(
    connection: Connection, most: int, *, tenant: str | None = None, before: int | None = None
) -> Sequence[Row[Any]]:
    """Return the newest entries, of a tenant or of all, before a number; the newest first."""
    query = select(_ENTRIES).order_by(AuditEntry.seq.desc()).limit(most)
    if tenant is not None:
        query = query.where(AuditEntry.tenant == tenant)
    if before is not None:
        query = query.where(AuditEntry.seq < before)
    return connection.execute(query).all()


def is_old(days: float) -> ColumnElement[bool]:
    """Entries whose data are to be erased."""
    holds = AuditEntry.data.is_not(None) & (AuditEntry.action != ERASURE)
    return holds & (AuditEntry.at < now() - days * _DAY_S)


def erase(connection: Connection, days: float) -> int:
    """Erase the data of some entries that are as old, which stay themselves; how many.

    The chain says which: without that nobody could tell it from data that somebody took away.
    """
    some = select(AuditEntry.seq).where(is_old(days)).order_by(AuditEntry.seq).limit(_SOME)
    if connection.execute(some.limit(1)).first() is None:
        return 0
    _hold(connection)
    seqs = list(connection.execute(some).scalars())
    if seqs:
        connection.execute(update(_ENTRIES).where(AuditEntry.seq.in_(seqs)).values(data=None))
        add(connection, [Act(_CLEANING, ERASURE, f"{a}-{b}") for a, b in _spans(seqs)])
    return len(seqs)


def erased(target: str) -> tuple[int, int] | None:
    """Return the first and the last entry whose data an erasure has erased, by its target."""
    first, _, last = target.partition("-")
    is_told = first.isdecimal() and last.isdecimal() and int(first) <= int(last)
    return (int(first), int(last)) if is_told else None


def _spans(seqs: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Yield the first and the last one of numbers that follow each other."""
    for _, group in groupby(enumerate(seqs), lambda at: at[1] - at[0]):
        span = [seq for _, seq in group]
        yield span[0], span[-1]


#: Entries whose data are erased in one transaction.
_SOME, _DAY_S = 1_000, 86_400.0
#: Who erases.
_CLEANING = "cleaning"
