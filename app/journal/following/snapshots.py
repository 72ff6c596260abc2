"""The state of a stream: its snapshot and what follows, folded; kept again each so many entries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, or_, select

from app.journal.queries import entries
from app.journal.schema.engine import now, reading
from app.journal.schema.models import Snapshot, StreamEnd, table
from app.journal.schema.sealed import opened_state, sealed_by, sealed_state
from app.journal.schema.transactions import in_transaction
from app.journal.schema.upsert import insert_of
from celery_agents.errors import AgentsError, InvalidPayloadError, redact

_S = table(Snapshot).c
_ENDS = table(StreamEnd).c
#: Entries of one page.
PAGE = 500


@dataclass(frozen=True, slots=True)
class Reducing:
    """A reducer as the process has it that folds."""

    name: str
    version: int
    every: int
    fold: Callable[[Any, dict[str, Any]], Any]
    #: The kind of entries that stand for all before them too, which may be gone.
    whole: str | None = None


@dataclass(frozen=True, slots=True)
class Folded:
    """The state of a stream up to a place."""

    state: Any = None
    seq: int = -1


def state(engine: Engine, tenant: str, stream: str, how: Reducing) -> Folded:
    """Make the state of a stream as it is now.

    Raises:
        InvalidPayloadError: the reducer raises, or entries that it needs were trimmed.
        UnreadableValueError: an entry cannot be decrypted.
    """
    reads = reading(engine)
    kept = in_transaction(reads, lambda c: _kept(c, tenant, stream, how))
    found = kept or Folded()
    while page := _page(reads, tenant, stream, found.seq):
        for entry in page:
            found = _folded(stream, how, found, entry)
    if found.seq < 0 and in_transaction(reads, lambda c: _was_there(c, tenant, stream)):
        raise _trimmed(stream, 0)
    if found.seq - (kept or Folded()).seq >= how.every:
        in_transaction(engine, lambda c: _keep(c, tenant, stream, how, found))
    return found


def seen(connection: Connection, tenant: str, stream: str, how: Reducing) -> Folded:
    """Make it as a transaction sees it, and keep nothing. Raises as :func:`state`."""
    found = _kept(connection, tenant, stream, how) or Folded()
    while page := entries.read(connection, tenant, stream, found.seq, PAGE):
        for entry in page:
            found = _folded(stream, how, found, entry)
    return found


def _page(reads: Engine, tenant: str, stream: str, after: int) -> entries.Rows:
    return in_transaction(reads, lambda c: entries.read(c, tenant, stream, after, PAGE))


def _folded(stream: str, how: Reducing, before: Folded, entry: dict[str, Any]) -> Folded:
    if entry["seq"] != before.seq + 1 and (how.whole is None or entry["kind"] != how.whole):
        raise _trimmed(stream, entry["seq"])
    try:
        return Folded(how.fold(before.state, entry), entry["seq"])
    except AgentsError:
        raise
    except Exception as error:
        told = redact(f"{type(error).__name__}: {error}")
        raise InvalidPayloadError(
            f"The reducer {how.name} failed at place {entry['seq']} of {stream}: {told}"
        ) from error


def _trimmed(stream: str, place: int) -> InvalidPayloadError:
    return InvalidPayloadError(
        f"Entries of {stream} before place {place} were trimmed, and there is no snapshot of this "
        "version behind them: its state cannot be made. Keep entries for longer than snapshots "
        "take to come, or have a new version go on from another stream."
    )


def _kept(connection: Connection, tenant: str, stream: str, how: Reducing) -> Folded | None:
    which = (_S.tenant == tenant) & (_S.stream == stream) & (_S.reducer == how.name)
    row = connection.execute(select(_S.seq, _S.state).where(which, _S.version == how.version))
    if (kept := row.first()) is None:
        return None
    where = (tenant, stream, how.name)
    return Folded(opened_state(sealed_by(connection), where, kept.state), kept.seq)


def _was_there(connection: Connection, tenant: str, stream: str) -> bool:
    query = select(_ENDS.length).where(_ENDS.tenant == tenant, _ENDS.stream == stream)
    return connection.execute(query).first() is not None


def _keep(connection: Connection, tenant: str, stream: str, how: Reducing, found: Folded) -> None:
    """Keep a state, unless there is one that is further, or of a newer version."""
    where = (tenant, stream, how.name)
    row = {
        "tenant": tenant,
        "stream": stream,
        "reducer": how.name,
        "version": how.version,
        "seq": found.seq,
        "state": sealed_state(sealed_by(connection), where, found.state),
        "at": now(),
    }
    insertion = insert_of(connection.dialect.name, table(Snapshot)).values(row)
    new = insertion.excluded
    newer = or_(
        _S.version < new.version,
        (_S.version == new.version) & (_S.seq < new.seq),
    )
    names = ("version", "seq", "state", "at")
    kept = insertion.on_conflict_do_update(
        index_elements=["tenant", "stream", "reducer"],
        set_={name: new[name] for name in names},
        where=newer,
    )
    connection.execute(kept)
