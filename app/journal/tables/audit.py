"""Acts in a chain of hashes: what is added, and what is found when the chain is gone through.

The hash of an entry is SHA-256 of the one before and of all that the entry says, its data by their
digest alone, so that data may be erased. Who can write to the database can make a whole new chain;
against that, ends of the chain are kept outside of it (see app/journal/stores/audit.py).
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Row, insert, select, update

from app.journal.schema.engine import now, read_clock
from app.journal.schema.models import AuditEntry, AuditHead, table
from app.journal.schema.upsert import insert_new
from celery_agents.contracts.base import JsonValue
from celery_agents.errors import redact
from celery_agents.values import jsonable

#: Characters of what an entry says, as its columns take them.
_ACTOR, _TENANT, _ACTION, _TARGET = 200, 64, 60, 200
#: Characters of a text within the data.
_TEXT = 500
_ENTRIES, _HEAD = table(AuditEntry), table(AuditHead)


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


class Tampering(NamedTuple):
    """A place where the chain is not as it was written."""

    kind: str
    #: The first entry that it is about, and the last one.
    seq: int
    last: int
    told: str


def add(connection: Connection, acts: Sequence[Act]) -> End:
    """Add acts to the chain, in their order; its new end."""
    connection.execute(insert_new(connection, AuditHead).values(one=1, seq=0, hash=""))
    found = select(AuditHead.seq, AuditHead.hash).with_for_update()
    end = End(*connection.execute(found).one())
    at = read_clock(connection)
    rows = []
    for act in acts:
        row = _row(act, end.seq + 1, at)
        end = End(row["seq"], link(end.hash, row))
        rows.append({**row, "hash": end.hash})
    connection.execute(insert(_ENTRIES), rows)
    connection.execute(update(_HEAD).values(seq=end.seq, hash=end.hash))
    return end


def _row(act: Act, seq: int, at: float) -> dict[str, Any]:
    data = json.dumps(_shown(act.data), sort_keys=True, separators=(",", ":"))
    return {
        "seq": seq,
        "at": at,
        "actor": redact(act.actor, limit=_ACTOR),
        "tenant": redact(act.tenant, limit=_TENANT),
        "action": redact(act.action, limit=_ACTION),
        "target": redact(act.target, limit=_TARGET),
        "data": data,
        "data_digest": digest(data),
    }


def _shown(value: Any) -> JsonValue:
    """Return data as they may be kept: no secrets, no long texts."""
    told = jsonable(value)
    if isinstance(told, dict):
        return {redact(name, limit=_TEXT): _shown(one) for name, one in told.items()}
    if isinstance(told, list):
        return [_shown(one) for one in told]
    return redact(told, limit=_TEXT) if isinstance(told, str) else told


def digest(data: str) -> str:
    """Return the digest of an entry's data."""
    return hashlib.sha256(data.encode()).hexdigest()


def link(before: str, row: dict[str, Any]) -> str:
    """Return the hash of an entry behind the one whose hash is given."""
    said = [row[name] for name in _COVERED]
    told = json.dumps(said, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(f"{before}{told}".encode()).hexdigest()


_COVERED = ("seq", "at", "actor", "tenant", "action", "target", "data_digest")


def end(connection: Connection) -> End | None:
    """Return where the chain says that it ends; None where nothing was ever written down."""
    found = connection.execute(select(AuditHead.seq, AuditHead.hash)).one_or_none()
    return None if found is None else End(*found)


def page(connection: Connection, after: int, most: int) -> Sequence[Row[Any]]:
    """Return entries in their order, those behind ``after``."""
    query = select(_ENTRIES).where(AuditEntry.seq > after).order_by(AuditEntry.seq).limit(most)
    return connection.execute(query).all()


def newest(connection: Connection, most: int) -> Sequence[Row[Any]]:
    """Return the newest entries, the newest first."""
    return connection.execute(select(_ENTRIES).order_by(AuditEntry.seq.desc()).limit(most)).all()


def is_old(days: float) -> ColumnElement[bool]:
    """Entries whose data are to be erased."""
    return AuditEntry.data.is_not(None) & (AuditEntry.at < now() - days * _DAY_S)


def erase(connection: Connection, days: float) -> int:
    """Erase the data of some entries that are as old, which stay themselves; how many."""
    some = select(AuditEntry.seq).where(is_old(days)).order_by(AuditEntry.seq).limit(_SOME)
    done = update(_ENTRIES).where(AuditEntry.seq.in_(some)).values(data=None)
    return int(connection.execute(done).rowcount)


#: Entries whose data are erased in one transaction.
_SOME, _DAY_S = 1_000, 86_400.0


def verified(
    entries: Iterable[Row[Any]],
    before: End | None,
    after: Callable[[], End | None],
    anchors: Iterable[End],
) -> Iterator[Tampering]:
    """Go through a chain: yield each place where it is not as it was written.

    Args:
        entries: all of them, in their order.
        before: where the database said that the chain ends, before they were read.
        after: says it again, once they were: others may have been added meanwhile.
        anchors: ends that were kept elsewhere.
    """
    kept: defaultdict[int, set[str]] = defaultdict(set)
    for anchor in anchors:
        kept[anchor.seq].add(anchor.hash)
    told = {} if before is None else {before.seq: before.hash}
    at, hashed = 0, ""
    for entry in entries:
        if entry.seq > at + 1:
            yield Tampering("deleted", at + 1, entry.seq - 1, "entries are missing")
        elif link(hashed, dict(entry._mapping)) != entry.hash:  # noqa: SLF001 - SQLAlchemy's name
            yield Tampering("changed", entry.seq, entry.seq, "the entry is another one")
        if entry.data is not None and digest(entry.data) != entry.data_digest:
            yield Tampering("changed", entry.seq, entry.seq, "its data are others")
        if told.get(entry.seq, entry.hash) != entry.hash:
            yield Tampering("changed", entry.seq, entry.seq, "the end was another one")
        if kept.pop(entry.seq, {entry.hash}) != {entry.hash}:
            yield Tampering("rewritten", entry.seq, entry.seq, "it was kept elsewhere as another")
        at, hashed = entry.seq, entry.hash
    last = max([*told, *kept], default=0)
    if last > at:
        yield Tampering("cut", at + 1, last, "entries are missing at the end")
    ends = after()
    if at > (seq := 0 if ends is None else ends.seq):
        yield Tampering("inserted", seq + 1, at, "entries stand behind the end")
