"""The threads of graphs of other libraries, as lines of streams (see agents/graphs.py)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, Select, delete, func, select, true

from agents.graphs import GraphLine
from app.journal.schema.engine import reading
from app.journal.schema.models import Entry, Step, table
from app.journal.schema.rows import Claimed, NewEntry
from app.journal.schema.sealed import opened_entry, sealed_by
from app.journal.schema.transactions import in_transaction
from app.journal.steps.entries import append
from celery_agents.contracts.flows.entries import GRAPHS
from celery_agents.contracts.outcome import State
from celery_agents.errors import StepCancelledError

_E = table(Entry).c
_S = table(Step).c
_TOLD = (_E.stream, _E.seq, _E.kind, _E.key, _E.data, _E.run_id)


class GraphStore:
    """The threads of graphs of one tenant.

    Args:
        engine: of the journal.
        claim: the claim of the step that writes, if one does: once another worker has it, nothing
            more is written under it.
    """

    def __init__(self, engine: Engine, tenant: str = "", claim: Claimed | None = None) -> None:
        self._engine = engine
        self._tenant = tenant
        self._claim = claim

    def put(self, thread: str, lines: Sequence[GraphLine], *, anew: Collection[str] = ()) -> None:
        """Add lines. Their step is looked at first, and held: so its lock comes before theirs."""
        stream = GRAPHS + thread
        new = [
            NewEntry(self._tenant, stream, line.kind, line.data, line.key, line.run_id)
            for line in lines
        ]
        replaced = [(line.kind, line.key) for line in lines if line.key in anew]

        def write(connection: Connection) -> None:
            self._hold(connection)
            for kind, key in replaced:
                connection.execute(delete(table(Entry)).where(self._of(stream, kind, [key])))
            append(connection, new)

        in_transaction(self._engine, write)

    def get(self, thread: str, kind: str, keys: Collection[str] | None = None) -> list[GraphLine]:
        """The lines of a kind, in the order in which they were added."""
        return self._read(_ALL.where(self._of(GRAPHS + thread, kind, keys)).order_by(_E.seq))

    def newest(self, thread: str, kind: str) -> GraphLine | None:
        """The line of a kind whose key is the greatest."""
        these = self._of(GRAPHS + thread, kind)
        found = self._read(_ALL.where(these).order_by(_E.key.desc()).limit(1))
        return found[0] if found else None

    def every(self, thread: str | None, kind: str) -> list[GraphLine]:
        """The lines whose kind begins so, greatest key first."""
        of = _begins(_E.stream, GRAPHS) if thread is None else _E.stream == GRAPHS + thread
        these: ColumnElement[bool] = (_E.tenant == self._tenant) & of & _begins(_E.kind, kind)
        return self._read(_ALL.where(these).order_by(_E.key.desc()))

    def of_runs(self, run_ids: Collection[str], kind: str) -> list[GraphLine]:
        """The lines of these runs whose kind begins so."""
        of = _E.run_id.in_(run_ids) & (_E.tenant == self._tenant)
        return self._read(_ALL.where(of, _begins(_E.stream, GRAPHS), _begins(_E.kind, kind)))

    def drop(
        self, thread: str, kind: str | None = None, keys: Collection[str] | None = None
    ) -> None:
        """Delete lines, or the whole thread."""
        gone = delete(table(Entry)).where(self._of(GRAPHS + thread, kind, keys))

        def write(connection: Connection) -> None:
            self._hold(connection)
            connection.execute(gone)

        in_transaction(self._engine, write)

    def _of(
        self, stream: str, kind: str | None, keys: Collection[str] | None = None
    ) -> ColumnElement[bool]:
        these: ColumnElement[bool] = (_E.tenant == self._tenant) & (_E.stream == stream)
        if kind is not None:
            these &= _E.kind == kind
        return these & (true() if keys is None else _E.key.in_(keys))

    def _hold(self, connection: Connection) -> None:
        """See that the step that writes is still its worker's, and stays so until the end."""
        if (claim := self._claim) is None:
            return
        mine = (_S.id == claim.id) & (_S.token == claim.token) & (_S.state == State.RUNNING)
        held = select(_S.id).where(mine).with_for_update(read=True)
        if connection.execute(held).first() is None:
            raise StepCancelledError("Another worker has its lease; its thread was not written.")

    def _read(self, query: Select[Any]) -> list[GraphLine]:
        return in_transaction(reading(self._engine), lambda c: self._lines(c, query))

    def _lines(self, connection: Connection, query: Select[Any]) -> list[GraphLine]:
        seals = sealed_by(connection)
        return [
            GraphLine(
                row.kind,
                row.key,
                opened_entry(seals, (self._tenant, row.stream), row.seq, row.data),
                row.run_id,
            )
            for row in connection.execute(query)
        ]


_ALL = select(*_TOLD)


def _begins(column: Any, text: str) -> ColumnElement[bool]:
    return func.substr(column, 1, len(text)) == text
