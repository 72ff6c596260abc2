"""The audit of a process: acts are written down before they are done, and kept in a chain."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, Row

from app.concurrency.batcher import GrowingBatches
from app.concurrency.fibers import wait
from app.journal.schema.engine import reading
from app.journal.schema.transactions import in_transaction
from app.journal.tables import audit
from app.journal.tables.audit import Act, End, Entry
from app.journal.tables.proving import Tampering, verified
from celery_agents.noted import note

log = logging.getLogger(__name__)

#: Acts that one transaction takes: it holds the end of the chain meanwhile.
_BATCH = 500
#: Entries that are read at a time.
PAGE = 2_000


class AuditLog:
    """Writes acts down, in batches, and goes through them.

    Args:
        engine: of the journal.
        anchor: a file outside of it, in which the end of the chain is noted with each batch.
    """

    def __init__(self, engine: Engine, anchor: Path | None = None) -> None:
        self._engine = engine
        self._anchor = anchor
        self._lock = threading.Lock()
        self._batches: GrowingBatches[Entry] | None = None

    def record(self, act: Act) -> None:
        """Write an act down, before it is done; returns once it stands in the journal.

        Raises:
            JournalUnavailableError: it does not; what is not written down is not to be done.
        """
        wait(self._writing().submit(audit.entry(act)))

    def write(self, acts: Sequence[Act]) -> None:
        """Write several down at once, in this thread."""
        self._append([audit.entry(act) for act in acts])

    def close(self) -> None:
        """Write what is queued."""
        if self._batches is not None:
            self._batches.close()

    def newest(
        self, most: int, *, tenant: str | None = None, before: int | None = None
    ) -> list[dict[str, Any]]:
        """Return the newest entries, of a tenant or of all, before a number; the newest first."""
        work = partial(audit.newest, most=most, tenant=tenant, before=before)
        found = in_transaction(reading(self._engine), work)
        return [dict(row._mapping) for row in found]  # noqa: SLF001 - SQLAlchemy's name

    def end(self) -> End | None:
        """Return the end of the chain."""
        return in_transaction(reading(self._engine), audit.end)

    def verify(self, anchors: Sequence[Path] = ()) -> Iterator[Tampering]:
        """Go through the chain; yield what is not as it was written.

        ``anchors``: files that processes wrote, beside this one's own.
        """
        own, end = self._anchor, self.end()
        if own is not None and not own.exists():
            if end is not None:
                yield Tampering("unanchored", 1, end.seq, f"no end of it is kept in {own}")
            own = None
        files = {*anchors} if own is None else {own, *anchors}
        kept = [one for path in files for one in _kept(path)]
        yield from verified(self._entries(), end, self.end, kept, self._counted)

    def _entries(self) -> Iterator[Row[Any]]:
        after: int | None = None
        while True:
            found = in_transaction(reading(self._engine), _page(after))
            yield from found
            if len(found) < PAGE:
                return
            after = found[-1].seq

    def _counted(self, upto: int) -> tuple[int, int]:
        return in_transaction(reading(self._engine), partial(audit.counted, upto=upto))

    def _writing(self) -> GrowingBatches[Entry]:
        if self._batches is None:
            with self._lock:
                if self._batches is None:
                    self._batches = GrowingBatches("agents-audit", self._perform, _BATCH)
        return self._batches

    def _perform(self, entries: Sequence[Entry], more: Callable[[], Sequence[Entry]]) -> list[None]:
        return [None] * len(self._append([*entries], more))

    def _append(
        self, entries: list[Entry], more: Callable[[], Sequence[Entry]] = tuple
    ) -> list[Entry]:
        """Add entries, and those that come while others hold the chain; all that were added."""
        end = in_transaction(self._engine, lambda c: audit.append(c, entries, more))
        self._keep(end)
        return entries

    def _keep(self, end: End) -> None:
        """Note the end outside of the journal; what is not noted there is not lost here."""
        if self._anchor is None:
            return
        try:
            line = f"{end.seq} {end.hash}\n".encode()
            file = os.open(self._anchor, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                os.write(file, line)  # one write: lines of several processes do not mix
            finally:
                os.close(file)
        except OSError as error:
            note(log, "audit_anchor", "The end of the audit was not kept elsewhere", error=error)


def _page(after: int | None) -> Callable[[Any], Sequence[Row[Any]]]:
    return lambda c: audit.page(c, after, PAGE)


def _kept(path: Path) -> Iterator[End]:
    """Read a file of ends; a line that was cut is none."""
    for line in path.read_text(encoding="ascii", errors="replace").splitlines():
        seq, _, told = line.partition(" ")
        if seq.isdecimal() and len(told) == _HASH:
            yield End(int(seq), told)


_HASH = 64
