"""Adding entries to one stream of PostgreSQL in one round trip, which is a transaction by itself.

What adds to several streams, or with a step's end, goes the ordinary way (steps/entries.py); so
does what this leaves unwritten, to find out why.
"""

from __future__ import annotations

from collections.abc import Sequence
from weakref import WeakSet

from sqlalchemy import Engine, Pool
from sqlalchemy.exc import DBAPIError, IntegrityError

from app.journal.schema.engine import CLOCK_POSTGRESQL as CLOCK
from app.journal.schema.engine import SEALS, SHARED, as_json, unbracketed
from app.journal.schema.rows import NewEntry
from app.journal.schema.transactions import tried
from app.journal.writing.connection import POOLED, fire
from app.journal.writing.prepared import Prepared, Shot

#: Keeps others from adding to a stream, as the ordinary way does; a statement of its own, since
#: the next one has to see what this has waited for.
HOLD = Prepared("hold_stream", ("text",), "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))")
APPEND = Prepared(
    "append_entries",
    ("text", "text", "integer", "text[]", "text[]", "text[]", "text[]", "integer[]"),
    f"""
    INSERT INTO entries (tenant, stream, seq, kind, key, run_id, data, size, tokens, at, xid)
    SELECT $1, $2, there.length + v.n - 1, v.kind, v.key, v.run_id, CAST(v.data AS json), v.size, 0,
        {CLOCK}, CAST(CAST(pg_current_xact_id() AS text) AS bigint)
    FROM (
        SELECT greatest(
            coalesce((SELECT seq + 1 FROM entries WHERE tenant = $1 AND stream = $2
                ORDER BY seq DESC LIMIT 1), 0),
            coalesce((SELECT length FROM stream_ends WHERE tenant = $1 AND stream = $2), 0)
        ) AS length
    ) AS there, unnest($4, $5, $6, $7, $8) WITH ORDINALITY AS v(kind, key, run_id, data, size, n)
    WHERE $3 IS NULL OR there.length = $3
    ORDER BY v.n
    RETURNING seq
    """,  # noqa: S608 - of our own constant
    answers=True,
    before=(HOLD,),
)


#: Pools whose connections are not the server's own, as was found out by trying.
_SHARED: WeakSet[Pool] = WeakSet()


def appended(
    engine: Engine, tenant: str, stream: str, new: Sequence[NewEntry], expected: int | None
) -> list[int] | None:
    """Add entries to a stream; return their places. None: nothing was written.

    A key that is there already, another length than ``expected``, and a database or entries that
    this is no way for.
    """
    options = engine.get_execution_options()
    shared = options.get(SHARED) or options.get(SEALS) is not None  # sealed by their places
    if engine.dialect.name != "postgresql" or shared or not new or engine.pool in _SHARED:
        return None
    texts = [as_json(entry.data) for entry in new]
    columns = ([e.kind for e in new], [e.key for e in new], [e.run_id for e in new])
    about = (f"{tenant}\x1f{stream}", tenant, stream, expected)
    shot = Shot(APPEND, (*about, *columns, texts, [len(one) for one in texts]))

    try:
        return tried(lambda: _sent(engine, shot)) or None
    except IntegrityError:
        return None


def _sent(engine: Engine, shot: Shot) -> list[int]:
    """Write, unless a pooler stands between: to try that again would look like an outage."""
    try:
        return _written(engine, shot)
    except DBAPIError as error:
        if getattr(error.orig, "pgcode", None) not in POOLED:
            raise
    _SHARED.add(engine.pool)
    return []


def _written(engine: Engine, shot: Shot) -> list[int]:
    with engine.connect() as connection, unbracketed(connection), connection.begin():
        return sorted(int(str(seq)) for seq in fire(connection, [shot]))
