"""Streams of entries, for clients and for whoever follows them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy import Connection, Engine, delete, func, select

from app.journal.following import cursors, snapshots, trimming
from app.journal.following.snapshots import Folded, Reducing
from app.journal.following.store import SubscriptionStore
from app.journal.queries import entries
from app.journal.queries.entries import BEGINNING, Position, Rows
from app.journal.schema.engine import read_clock, reading
from app.journal.schema.models import Entry, Snapshot, StreamCursor, StreamEnd, table
from app.journal.schema.rows import NewEntry
from app.journal.schema.transactions import in_transaction
from app.journal.steps.entries import Appended, append
from app.journal.writing.appending import appended
from celery_agents.contracts.flows.subscriptions import StreamLimits, StreamSet

#: Pages of entries of a rule that are deleted at a time: others wait for their turn.
TRIM_PAGES = 20


@dataclass(frozen=True, slots=True)
class StreamStore:
    """The streams of a journal."""

    engine: Engine

    @property
    def subscriptions(self) -> SubscriptionStore:
        """Those who are served with its entries."""
        return SubscriptionStore(self.engine)

    def append(
        self, tenant: str, stream: str, new: Sequence[NewEntry], expected: int | None = None
    ) -> list[Appended]:
        """Add entries to a stream; see :func:`app.journal.steps.entries.append`."""
        if (places := appended(self.engine, tenant, stream, new, expected)) is not None:
            return [Appended(seq) for seq in places]
        wanted = None if expected is None else {(tenant, stream): expected}
        return in_transaction(self.engine, lambda c: append(c, new, wanted))

    def read(self, tenant: str, stream: str, after: int, limit: int) -> Rows:
        """A page of a stream, behind a place."""
        return in_transaction(
            reading(self.engine), lambda c: entries.read(c, tenant, stream, after, limit)
        )

    def length(self, tenant: str, stream: str) -> int:
        """The place of its next entry; 0 of one that was deleted, or never was."""
        of = [(model.tenant == tenant) & (model.stream == stream) for model in (Entry, StreamEnd)]
        last = select(func.max(Entry.seq) + 1).where(of[0]).scalar_subquery()
        ended = select(StreamEnd.length).where(of[1]).scalar_subquery()
        found = in_transaction(reading(self.engine), lambda c: c.execute(select(last, ended)).one())
        return max(found[0] or 0, found[1] or 0)

    def follow(
        self,
        tenant: str,
        cursor: str,
        prefix: str,
        limit: int,
        done: Position | None = None,
        *,
        told: int = 0,
    ) -> tuple[Rows, Position]:
        """The page behind a cursor, which is moved on first to what is ``done``.

        It begins with how many entries were trimmed before they were read, where some were; so
        many were ``told`` before.
        """

        def page(connection: Connection) -> tuple[Rows, Position]:
            row = cursors.find(connection, tenant, cursor)
            after = BEGINNING if row is None else Position(row.xid, row.pos)
            found, last = entries.follow(connection, tenant, prefix, after, limit)
            if row is not None and row.missed:
                found.insert(0, cursors.gap(of, row.missed, read_clock(connection)))
            if row is None or row.of != of:
                begins.append(of)
            return found, last

        of, begins = f"{prefix}*", list[str]()
        if done is not None:
            self._move(tenant, cursor, done, told)
        found, last = in_transaction(reading(self.engine), page)
        if begins:
            in_transaction(self.engine, lambda c: cursors.begin(c, tenant, cursor, of))
        if not found and last not in (done, BEGINNING):  # what others wrote is looked at once
            self._move(tenant, cursor, last)
        return found, last

    def _move(self, tenant: str, cursor: str, to: Position, told: int = 0) -> None:
        in_transaction(self.engine, lambda c: cursors.move(c, tenant, cursor, to, told))

    def keep(self, tenant: str, streams: StreamSet, limits: StreamLimits | None) -> None:
        """Keep the entries of these streams so long; see :func:`trimming.keep`."""
        in_transaction(self.engine, lambda c: trimming.keep(c, tenant, streams, limits))

    def kept(self, tenant: str | None = None) -> list[dict[str, Any]]:
        """How long entries are kept, of a tenant's streams or of all."""
        return in_transaction(reading(self.engine), lambda c: trimming.kept(c, tenant))

    def trim(self, tenant: str, of: str, pages: int = TRIM_PAGES) -> tuple[int, bool]:
        """Delete entries of these streams that are to go, some pages of them.

        Returns how many have gone, and whether there may be more.
        """
        gone, page = 0, -1
        what = in_transaction(reading(self.engine), lambda c: trimming.over(c, tenant, of))
        if what is None:
            return 0, False
        for _ in range(pages):
            page = in_transaction(self.engine, partial(trimming.trim, what=what))
            if page < 0:
                break
            gone += page
        return gone, page >= 0

    def named(self, tenant: str, prefix: str, limit: int) -> Rows:
        """Streams whose names begin so, how many entries each has, and when the last one came."""
        return in_transaction(
            reading(self.engine), lambda c: entries.named(c, tenant, prefix, limit)
        )

    def state(self, tenant: str, stream: str, how: Reducing) -> Folded:
        """The state of a stream as it is now; see :func:`snapshots.state`."""
        return snapshots.state(self.engine, tenant, stream, how)

    def delete(self, tenant: str, stream: str) -> int:
        """Delete a stream; returns how many entries it had."""
        these = (table(Entry).c.tenant == tenant) & (table(Entry).c.stream == stream)
        gone = delete(table(Entry)).where(these)

        def forgotten(connection: Connection) -> int:
            for model in (StreamEnd, Snapshot):
                of = (table(model).c.tenant == tenant) & (table(model).c.stream == stream)
                connection.execute(delete(table(model)).where(of))
            return connection.execute(gone).rowcount

        return in_transaction(self.engine, forgotten)

    def forget(self, tenant: str, cursor: str) -> bool:
        """Delete a cursor; returns whether there was one."""
        own = table(StreamCursor).c
        this = (own.tenant == tenant) & (own.name == cursor) & own.serves.is_(None)
        gone = delete(table(StreamCursor)).where(this)
        return in_transaction(self.engine, lambda c: c.execute(gone).rowcount > 0)
