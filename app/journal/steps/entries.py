"""Adding entries to streams: each in the next place of its stream, those with a key once.

Whoever adds to a stream holds it until his transaction ends, so places have no gaps and no two
are the same. Lock order: streams come last of all, by a number made of their names; several of one
transaction are taken together, in its order.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, delete, insert, text

from app.journal.schema.engine import as_json, now
from app.journal.schema.models import Entry, table
from app.journal.schema.positions import transaction_number
from app.journal.schema.rows import NewEntry
from app.journal.schema.sealed import sealed_by, sealed_entry
from celery_agents.errors import StreamConflictError
from celery_agents.sealing import Seals

_E = table(Entry).c
#: A stream with whose it is.
Stream = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Appended:
    """The place of an entry, and whether it stood there before."""

    seq: int
    known: bool = False


def forget(connection: Connection, tenant: str, stream: str, before: int) -> None:
    """Delete the entries of a stream that are before a place."""
    gone = delete(table(Entry)).where(_E.tenant == tenant, _E.stream == stream, _E.seq < before)
    connection.execute(gone)


def append(
    connection: Connection,
    entries: Sequence[NewEntry],
    expected: Mapping[Stream, int] | None = None,
    *,
    looked: bool = False,
) -> list[Appended]:
    """Add entries in their order; one whose key its stream has already is left as it is.

    ``expected``: the lengths that streams are to have. What is all known already was written by an
    earlier try of the same, and meets no condition again. ``looked``: whoever calls knows that no
    stream has any of the keys, and keeps others from adding to them.

    Raises:
        StreamConflictError: a stream has another length.
    """
    streams = {(e.tenant, e.stream) for e in entries}
    lengths = hold(connection, streams)
    known: dict[Stream, dict[tuple[str, str | None], int]] = {stream: {} for stream in streams}
    for row in () if looked else there(connection, entries):
        known[row.tenant, row.stream][row.kind, row.key] = row.seq
    for stream, length in (expected or {}).items():
        mine = [e for e in entries if (e.tenant, e.stream) == stream]
        if lengths[stream] != length and not all((e.kind, e.key) in known[stream] for e in mine):
            raise StreamConflictError(
                f"The stream {stream[1]} has {lengths[stream]} entries, not {length}.",
                {"length": lengths[stream]},
            )
    seals = sealed_by(connection)
    placed: list[Appended] = []
    rows: list[dict[str, Any]] = []
    for entry in entries:
        stream = (entry.tenant, entry.stream)
        seq = known[stream].get((entry.kind, entry.key))
        placed.append(Appended(lengths[stream] if seq is None else seq, seq is not None))
        if seq is None:
            if entry.key is not None:
                known[stream][entry.kind, entry.key] = lengths[stream]
            rows.append(_row(entry, lengths[stream], seals))
            lengths[stream] += 1
    if rows:
        connection.execute(_INSERT, rows)
    return placed


def knows(connection: Connection, entry: NewEntry) -> bool:
    """Return whether an entry's stream has one of its kind and key."""
    return bool(there(connection, [entry]))


def put(connection: Connection, entry: NewEntry, seq: int, at: float) -> None:
    """Add an entry to a stream that is held, in a place that is free, as one of that time."""
    row = _row(entry, seq, sealed_by(connection))
    connection.execute(_INSERT.values({_E.at: at}), [row])


def hold(connection: Connection, streams: set[Stream]) -> dict[Stream, int]:
    """Keep others from adding to these streams until the transaction ends; how long they are."""
    if connection.dialect.name == "sqlite":  # it has one writer at a time anyway
        names = json.dumps(sorted(streams))
        found = connection.execute(_LENGTHS, {"names": names})
        return {(row[0], row[1]): row[2] for row in found}
    of = {
        "names": [f"{tenant}\x1f{name}" for tenant, name in streams],
        "tenants": [tenant for tenant, _ in streams],
        "streams": [name for _, name in streams],
    }
    return {(row[0], row[1]): row[2] for row in connection.execute(_HOLD, of)}


#: One round trip, of two statements: the second one sees what the first has waited for.
_HOLD = text(
    "SELECT pg_advisory_xact_lock(h) FROM (SELECT DISTINCT hashtextextended(n, 0) AS h "
    "FROM unnest(CAST(:names AS text[])) AS n ORDER BY h) AS wanted; "
    "SELECT v.tenant, v.stream, greatest(coalesce("
    "(SELECT e.seq + 1 FROM entries AS e WHERE e.tenant = v.tenant AND e.stream = v.stream "
    "ORDER BY e.seq DESC LIMIT 1), 0), coalesce("
    "(SELECT s.length FROM stream_ends AS s WHERE s.tenant = v.tenant AND s.stream = v.stream), 0)"
    ") FROM unnest(CAST(:tenants AS text[]), CAST(:streams AS text[])) AS v(tenant, stream)"
)
_TOLD = (_E.tenant, _E.stream, _E.kind, _E.key, _E.seq, _E.data)
#: The index of keys is taken for each place; a CROSS JOIN of SQLite keeps its order.
_KNOWN = text(
    "SELECT e.tenant, e.stream, e.kind, e.key, e.seq, e.data FROM json_each(:places) AS v "
    "CROSS JOIN entries AS e ON e.tenant = json_extract(v.value, '$[0]') "
    "AND e.stream = json_extract(v.value, '$[1]') AND e.kind = json_extract(v.value, '$[2]') "
    "AND e.key = json_extract(v.value, '$[3]')"
).columns(*_TOLD)
#: Of many streams in one round trip, each looked up by the index of keys.
_ALL_KNOWN = text(
    "SELECT e.tenant, e.stream, e.kind, e.key, e.seq, e.data "
    "FROM unnest(CAST(:tenants AS text[]), CAST(:streams AS text[]), CAST(:kinds AS text[]), "
    "CAST(:keys AS text[])) AS v(tenant, stream, kind, key), LATERAL ("
    "SELECT * FROM entries WHERE tenant = v.tenant AND stream = v.stream AND kind = v.kind "
    "AND key = v.key LIMIT 1) AS e"
).columns(*_TOLD)
#: Of one stream. A planner that knows nothing of the table yet goes through the stream instead of
#: the index: once, and by a hash of the keys, which it makes of more than eight constants.
_KNOWN_OF_ONE = text(
    "SELECT tenant, stream, kind, key, seq, data FROM entries WHERE tenant = :tenant "
    "AND stream = :stream AND kind = :kind AND key = ANY (CAST(:keys AS text[]))"
).columns(*_TOLD)
_MANY_KEYS = 9
_LENGTHS = text(
    "SELECT v.tenant, v.stream, max(coalesce("
    "(SELECT e.seq + 1 FROM entries AS e WHERE e.tenant = v.tenant AND e.stream = v.stream "
    "ORDER BY e.seq DESC LIMIT 1), 0), coalesce("
    "(SELECT s.length FROM stream_ends AS s WHERE s.tenant = v.tenant AND s.stream = v.stream), 0)"
    ") FROM (SELECT json_extract(value, '$[0]') AS tenant, json_extract(value, '$[1]') AS stream "
    "FROM json_each(:names)) AS v"
)
_INSERT = insert(table(Entry)).values(
    {
        **{_E[name]: bindparam(f"b_{name}") for name in ("tenant", "stream", "seq", "kind", "key")},
        _E.run_id: bindparam("b_run_id"),
        _E.data: bindparam("b_data", type_=_E.data.type),
        _E.size: bindparam("b_size"),
        _E.tokens: 0,
        _E.at: now(),
        _E.xid: transaction_number(),
    }
)


def there(connection: Connection, entries: Sequence[NewEntry]) -> list[Any]:
    """Rows of entries that streams have already, by their kinds and keys."""
    keyed = [e for e in entries if e.key is not None]
    if not keyed:
        return []
    if connection.dialect.name == "postgresql":
        return _there(connection, keyed)
    places = json.dumps([[e.tenant, e.stream, e.kind, e.key] for e in keyed])
    return list(connection.execute(_KNOWN, {"places": places}))


def _there(connection: Connection, keyed: Sequence[NewEntry]) -> list[Any]:
    streams: dict[tuple[str, str, str], list[NewEntry]] = {}
    for entry in keyed:
        streams.setdefault((entry.tenant, entry.stream, entry.kind), []).append(entry)
    found: list[Any] = []
    few: list[NewEntry] = []
    for (tenant, stream, kind), mine in streams.items():
        if len(mine) < _MANY_KEYS:
            few += mine
            continue
        about = {"tenant": tenant, "stream": stream, "kind": kind, "keys": [e.key for e in mine]}
        found += connection.execute(_KNOWN_OF_ONE, about)
    if few:
        names = ("tenant", "stream", "kind", "key")
        told = {f"{name}s": [getattr(e, name) for e in few] for name in names}
        found += connection.execute(_ALL_KNOWN, told)
    return found


def _row(entry: NewEntry, seq: int, seals: Seals | None) -> dict[str, Any]:
    data = sealed_entry(seals, entry, seq)
    return {
        "b_tenant": entry.tenant,
        "b_stream": entry.stream,
        "b_seq": seq,
        "b_kind": entry.kind,
        "b_key": entry.key,
        "b_run_id": entry.run_id,
        "b_data": data,
        "b_size": len(as_json(data)),
    }
