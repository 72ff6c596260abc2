"""Streams of entries, for clients and for whoever follows them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, delete

from app.journal.queries import entries
from app.journal.queries.entries import Position, Rows
from app.journal.schema.engine import reading
from app.journal.schema.models import Entry, StreamCursor, table
from app.journal.schema.rows import NewEntry
from app.journal.schema.transactions import in_transaction
from app.journal.steps.entries import Appended, append


@dataclass(frozen=True, slots=True)
class StreamStore:
    """The streams of a journal."""

    engine: Engine

    def append(
        self, tenant: str, stream: str, new: Sequence[NewEntry], expected: int | None = None
    ) -> list[Appended]:
        """Add entries to a stream; see :func:`app.journal.steps.entries.append`."""
        wanted = None if expected is None else {(tenant, stream): expected}
        return in_transaction(self.engine, lambda c: append(c, new, wanted))

    def read(self, tenant: str, stream: str, after: int, limit: int) -> Rows:
        """A page of a stream, behind a place."""
        return in_transaction(
            reading(self.engine), lambda c: entries.read(c, tenant, stream, after, limit)
        )

    def follow(
        self, tenant: str, cursor: str, prefix: str, limit: int, done: Position | None = None
    ) -> tuple[Rows, Position]:
        """The page behind a cursor, which is moved on first to what is ``done``."""

        def page(connection: Connection) -> tuple[Rows, Position]:
            after = entries.position(connection, tenant, cursor)
            return entries.follow(connection, tenant, prefix, after, limit)

        if done is not None:
            self._move(tenant, cursor, done)
        found, last = in_transaction(reading(self.engine), page)
        if not found and last != done:  # so that what others wrote is not looked at each time
            self._move(tenant, cursor, last)
        return found, last

    def _move(self, tenant: str, cursor: str, to: Position) -> None:
        in_transaction(self.engine, lambda c: entries.move(c, tenant, cursor, to))

    def delete(self, tenant: str, stream: str) -> int:
        """Delete a stream; returns how many entries it had."""
        these = (table(Entry).c.tenant == tenant) & (table(Entry).c.stream == stream)
        gone = delete(table(Entry)).where(these)
        return in_transaction(self.engine, lambda c: c.execute(gone).rowcount)

    def forget(self, tenant: str, cursor: str) -> bool:
        """Delete a cursor; returns whether there was one."""
        this = (table(StreamCursor).c.tenant == tenant) & (table(StreamCursor).c.name == cursor)
        gone = delete(table(StreamCursor)).where(this)
        return in_transaction(self.engine, lambda c: c.execute(gone).rowcount > 0)
