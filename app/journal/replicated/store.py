"""Replicated values of a journal: changed here, and by what other journals have changed.

A value is the merge of the deltas that stand in its stream, with snapshots as any state has. A
change is decided on what the stream has, and added if it has no more by then. Each delta stands
under the journal that made it and the id of its change, so one that comes again is known.

Lock order: the row of this journal's identity comes before all streams.
"""

from __future__ import annotations

import secrets
import string
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, func, literal, select, tuple_

from agents.replicated.changes import checked_delta, delta
from agents.replicated.values import Replicated
from app.journal.following import snapshots
from app.journal.following.snapshots import Folded, Reducing
from app.journal.queries import entries
from app.journal.queries.entries import BEGINNING, Position, top_of
from app.journal.replicated import compacting
from app.journal.schema.engine import read_clock, reading
from app.journal.schema.models import Entry, Memo, table
from app.journal.schema.rows import NewEntry
from app.journal.schema.transactions import in_transaction
from app.journal.steps.entries import append, there
from app.journal.tables import memos
from celery_agents.contracts.flows.entries import REPLICATED
from celery_agents.contracts.flows.replicated import (
    DELTA,
    DataType,
    ReplicatedChange,
    ReplicatedEntry,
    ReplicatedPage,
    replicated_stream,
)
from celery_agents.errors import InvalidPayloadError, RetryableError, StreamConflictError

_E = table(Entry).c
#: The memo with the identity of this journal among those that exchange values.
IDENTITY = "replica"
#: Before the memos that say how far others were taken over.
_TAKEN = "replicate/"
_ID_CHARACTERS, _ID_LENGTH = string.digits + string.ascii_lowercase, 12
#: Entries from one snapshot of a value to the next.
_EVERY = 100
#: Looks at a value that others change meanwhile: somebody gets on at each.
_LOOKS = 500
#: Entries behind a page are counted up to here.
BEHIND_MAX = 10_000


class TakenOver(NamedTuple):
    """The outcome of taking a page over: entries that are new, and that were known."""

    new: int
    known: int
    #: The journal took another identity, since it was set back or copied.
    renewed: bool = False


class _BusyError(RetryableError):
    """Others changed the value at each look; the message comes again."""


@dataclass(frozen=True, slots=True)
class ReplicatedStore:
    """The replicated values of a journal."""

    engine: Engine

    def identity(self) -> str:
        """The name of this journal among those that exchange values; made when it is asked for."""
        found = in_transaction(reading(self.engine), lambda c: memos.read(c, IDENTITY))
        return str(found["id"]) if found else self._identified(renew=False)

    def renew(self) -> str:
        """Take another identity, as the copy of a journal has to before it changes a value."""
        return self._identified(renew=True)

    def _identified(self, *, renew: bool) -> str:
        made = in_transaction(self.engine, lambda c: memos.change(c, IDENTITY, _revised(renew)))
        return str(made["id"])

    def read(self, tenant: str, data_type: DataType, name: str) -> Replicated:
        """A value as it is now; an empty one where nobody has changed it."""
        return self._folded(tenant, data_type, replicated_stream(data_type, name))[0]

    def change(
        self,
        tenant: str,
        where: tuple[DataType, str],
        changes: Sequence[ReplicatedChange],
        change_id: str,
    ) -> Replicated:
        """Change a value; the same change, by its id, is made once. Returns the value then.

        Raises:
            RetryableError: others changed it at each look.
        """
        stream = replicated_stream(*where)
        for _ in range(_LOOKS):
            replica = self.identity()
            value, folded = self._folded(tenant, where[0], stream)
            at = in_transaction(reading(self.engine), read_clock)
            made = delta(value, changes, replica, at)
            about = (DELTA, made.as_delta(), f"{replica}/{change_id}")
            entry = NewEntry(tenant, stream, *about)
            give = partial(_added, entry=entry, replica=replica, length=folded.seq + 1)
            try:
                added = in_transaction(self.engine, give)
            except StreamConflictError:
                continue
            if added is not None:
                return value.merge(made) if added else self._folded(tenant, where[0], stream)[0]
        raise _BusyError("Others changed the value at each look.")

    def listed(self, tenant: str, prefix: str, limit: int) -> list[dict[str, Any]]:
        """Values whose types and names begin so, with their number of changes."""
        begins = REPLICATED + prefix
        query = (
            select(_E.stream, func.count().label("changes"), func.max(_E.at).label("last_at"))
            .where(_E.tenant == tenant, func.substr(_E.stream, 1, len(begins)) == begins)
            .group_by(_E.stream)
            .order_by(_E.stream)
            .limit(limit)
        )
        rows = in_transaction(reading(self.engine), lambda c: c.execute(query).all())
        return [
            dict(zip(("type", "name"), row.stream.split("/", 2)[1:], strict=True))
            | {"changes": row.changes, "last_at": row.last_at}
            for row in rows
        ]

    def page(self, tenant: str, after: str | None, limit: int) -> ReplicatedPage:
        """Changes behind a position, for another journal, in an order that nobody overtakes.

        Raises:
            InvalidPayloadError: it is no position.
        """
        try:
            behind = BEGINNING if after is None else Position.of(after)
        except ValueError:
            raise InvalidPayloadError("after: it is the position of a page.") from None
        replica = self.identity()
        found, last, more = in_transaction(
            reading(self.engine), partial(_page, tenant=tenant, after=behind, limit=limit)
        )
        told = [ReplicatedEntry.model_validate({n: e[n] for n in _TOLD}) for e in found]
        about = {"entries": told, "position": last.text, "behind": more}
        return ReplicatedPage(replica=replica, tenant=tenant, **about)

    def position(self, tenant: str, source: str) -> str | None:
        """The place up to which another journal was taken over; None: it never was."""
        key = f"{_TAKEN}{source}/{tenant}"
        found = in_transaction(reading(self.engine), lambda c: memos.read(c, key))
        return found.get("position")

    def take(self, tenant: str, page: ReplicatedPage) -> TakenOver:
        """Take changes of another journal over, with how far that is, in one transaction.

        Raises:
            InvalidPayloadError: one of them is none, and nothing is taken; or it is this journal.
        """
        return in_transaction(self.engine, partial(_take, tenant=tenant, page=page))

    def compact(self, tenant: str, keep_s: float) -> compacting.Compacted:
        """Put changes together that are older; their ids are not known any more then."""
        return compacting.compact(self.engine, tenant, self.identity(), keep_s)

    def _folded(self, tenant: str, data_type: str, stream: str) -> tuple[Replicated, Folded]:
        found = snapshots.state(self.engine, tenant, stream, _reducing(data_type))
        return _value(data_type, found), found


_TOLD = ("stream", "key", "data")


def _reducing(data_type: str) -> Reducing:
    fold = partial(_fold, data_type)
    return Reducing("agents.replicated", 1, _EVERY, fold, whole=compacting.WHOLE)


def _value(data_type: str, found: Folded) -> Replicated:
    return Replicated.from_json(found.state) if found.seq >= 0 else Replicated(data_type)


def _fold(data_type: str, state: Any, entry: dict[str, Any]) -> dict[str, Any]:
    value = Replicated(data_type) if state is None else Replicated.from_json(state)
    return value.merge(Replicated.from_delta(data_type, entry["data"])).as_json()


def _revised(renew: bool, *, set_back: bool = False) -> Any:
    def revise(found: dict[str, Any]) -> dict[str, Any]:
        if found and not renew:
            return found
        new = "".join(secrets.choice(_ID_CHARACTERS) for _ in range(_ID_LENGTH))
        # What it made under a name before it was set back it knows still, when it comes again.
        was = [*found.get("was", []), found["id"]] if set_back else found.get("was", [])
        return {"id": new, "was": was} if was else {"id": new}

    return revise


def _added(connection: Connection, *, entry: NewEntry, replica: str, length: int) -> bool | None:
    """Add a change; False: it is known. None: the journal has another identity by now.

    Raises:
        StreamConflictError: somebody was quicker.
    """
    held = select(Memo.data).where(Memo.key == IDENTITY).with_for_update(read=True)
    mine = connection.execute(held).scalar_one()
    if mine["id"] != replica:
        return None
    change_id = str(entry.key).removeprefix(replica)
    if there(connection, [replace(entry, key=was + change_id) for was in mine.get("was", [])]):
        return False
    (placed,) = append(connection, [entry], {(entry.tenant, entry.stream): length})
    return not placed.known


def _page(
    connection: Connection, *, tenant: str, after: Position, limit: int
) -> tuple[list[dict[str, Any]], Position, int]:
    top = top_of(connection) or BEGINNING
    if after > top:  # it was set back since: all of it is known, or new
        after = BEGINNING
    found, last = entries.follow(connection, tenant, REPLICATED, after, limit)
    theirs = (_E.tenant == tenant) & (func.substr(_E.stream, 1, len(REPLICATED)) == REPLICATED)
    beyond = tuple_(_E.xid, _E.pos) > tuple_(*map(literal, last))
    some = select(_E.pos).where(theirs, beyond).limit(BEHIND_MAX).subquery()
    more = connection.execute(select(func.count()).select_from(some)).scalar_one()
    return found, last, int(more)


def _take(connection: Connection, *, tenant: str, page: ReplicatedPage) -> TakenOver:
    if page.tenant != tenant:
        raise InvalidPayloadError(
            f"It has values of {page.tenant or 'nobody'!r}, not of {tenant or 'nobody'!r}: say "
            "--tenant as the key has it."
        )
    mine = memos.change(connection, IDENTITY, _revised(renew=False))["id"]
    if page.replica == mine:
        raise InvalidPayloadError(
            "It is this journal itself, or one is the copy of the other: give the copy another "
            "identity (agents replicate --new-identity)."
        )
    now = read_clock(connection)
    for entry in page.entries:
        checked_delta(entry.stream.split("/")[1], entry.data, now)
    told, own = _unseen(connection, tenant, page.entries, mine)
    new = [NewEntry(tenant, e.stream, DELTA, e.data, e.key) for e in told]
    placed = append(connection, new) if new else []
    fresh = [one for one, at in zip(told, placed, strict=True) if not at.known]
    renewed = own or any(entry.key.startswith(f"{mine}/") for entry in fresh)
    if renewed:  # it was set back to an earlier state: its next numbers are given already
        memos.change(connection, IDENTITY, _revised(renew=True, set_back=True))
    upto = {"position": page.position}
    memos.change(connection, f"{_TAKEN}{page.replica}/{tenant}", lambda _: upto)
    return TakenOver(len(fresh), len(page.entries) - len(fresh), renewed)


def _unseen(
    connection: Connection, tenant: str, told: Sequence[ReplicatedEntry], mine: str
) -> tuple[list[ReplicatedEntry], bool]:
    """Leave out what changes nothing: a value that was compacted has changes without entries.

    With whether this journal's own changes, which it does not have, are in what others compacted.
    """
    lean = compacting.compacted(connection, tenant, {one.stream for one in told})
    values, left, own = dict[str, Replicated](), list[ReplicatedEntry](), False
    for one in told:
        if one.stream in lean or one.key.partition("/")[2].startswith(compacting.MARK):
            kind = one.stream.split("/")[1]
            if (value := values.get(one.stream)) is None:
                found = snapshots.seen(connection, tenant, one.stream, _reducing(kind))
                value = _value(kind, found)
            after = values[one.stream] = value.merge(Replicated.from_delta(kind, one.data))
            if after == value:
                continue
            own = own or after.context.upto(mine) > value.context.upto(mine)
        left.append(one)
    return left, own
