"""Sessions, for runs that hold one and for people."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine

from app.concurrency.future import Future
from app.journal.queries import sessions
from app.journal.queries.sessions import Rows
from app.journal.schema.engine import reading
from app.journal.schema.rows import Claimed, HeldSession, Unheld
from app.journal.schema.transactions import in_transaction
from app.journal.steps.sessions import HoldSession
from app.journal.writing.writer import Writer


class Exchanges:
    """Sessions with what stands in them; exchanges are added by ``Journal.finish``."""

    def __init__(self, engine: Engine, writer: Writer) -> None:
        self._engine = engine
        self._writer = writer

    def hold(self, claim: Claimed, name: str, budget: int) -> Future[HeldSession | Unheld]:
        """Take a session for a claimed step, which is told of it within a budget of tokens."""
        return self._writer.submit(HoldSession(claim, name, budget))

    def told(self, held: HeldSession) -> Rows:
        """The exchanges that the agent of a run is told, which holds the session.

        The last one is among them, though it may be too long to be told: it says who is active.
        """
        begins = min(held.begins, max(held.exchanges - 1, 0))
        place = (held.tenant, held.name, begins, held.exchanges)
        return in_transaction(reading(self._engine), lambda c: sessions.exchanges(c, *place))

    def page(self, tenant: str, name: str, after: int) -> dict[str, Any]:
        """Exchanges from a place on; see :func:`sessions.page`."""
        return in_transaction(
            reading(self._engine), lambda c: sessions.page(c, tenant, name, after)
        )

    def list(self, tenant: str, limit: int) -> Rows:
        """Sessions of a tenant, the last one changed first."""
        return in_transaction(reading(self._engine), lambda c: sessions.listed(c, tenant, limit))

    def fork(self, tenant: str, name: str, copy: str, upto: int | None) -> int:
        """Copy a session, or its first exchanges; see :func:`sessions.fork`."""
        return in_transaction(self._engine, lambda c: sessions.fork(c, tenant, name, copy, upto))

    def delete(self, tenant: str, name: str) -> bool:
        """Delete a session with its exchanges; returns whether there was one."""
        return in_transaction(self._engine, lambda c: sessions.forget(c, tenant, name))
