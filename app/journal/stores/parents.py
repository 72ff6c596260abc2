"""Payloads that members share with their patterns, read once for those in a row; what is below."""

from __future__ import annotations

import time
from dataclasses import replace

from sqlalchemy import Engine

from agents.patterns.team import Turned
from app.journal.queries import teams
from app.journal.queries.traced import caller_of
from app.journal.schema.engine import reading
from app.journal.schema.rows import Claimed
from app.journal.schema.transactions import in_transaction
from app.journal.steps.shared import Payload, Wholes, filled
from celery_agents.contracts.outcome import Outcome, State
from celery_agents.traces import TraceParent

#: Payloads of parents that are kept for their members: a pattern's members come one after another.
_PARENTS = 16
#: Seconds: an id may be another run's once its first one was cleaned up.
_PARENTS_S = 60.0
_NEVER: tuple[float, Payload] = (float("-inf"), {})


class Parents:
    """Payloads of parents, of which members' claims are filled in."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._read: dict[str | None, tuple[float, Payload]] = {}

    def at_hand(self, claim: Claimed) -> Claimed | None:
        """As :meth:`whole`, of a payload that was read a moment ago; else None. It never waits."""
        read_at, parents = self._read.get(claim.parent_id, _NEVER)
        if time.monotonic() - read_at > _PARENTS_S:
            return None
        return replace(claim, payload=filled(claim.payload, parents))

    def whole(self, claim: Claimed) -> Claimed:
        """Return a claim, its payload filled in with what it shares with its parent's.

        Raises:
            InvalidPayloadError: its parent is gone.
        """
        if (known := self.at_hand(claim)) is not None:
            return known
        work = lambda c: Wholes(c).of(claim.parent_id)  # noqa: E731
        parents = in_transaction(reading(self._engine), work)
        if len(self._read) >= _PARENTS:  # whichever: its members read it once more
            self._read.clear()
        self._read[claim.parent_id] = time.monotonic(), parents
        return replace(claim, payload=filled(claim.payload, parents))

    def caller_of(self, run_id: str) -> TraceParent | None:
        """The span of whoever asked for a run, which its root's payload has."""
        return in_transaction(reading(self._engine), lambda c: caller_of(c, run_id))

    def turn(self, step_id: str, run_id: str) -> tuple[State, Outcome | None, float] | None:
        """A turn of a run: its state, its outcome once it has one, and its age in seconds."""
        return in_transaction(reading(self._engine), lambda c: teams.turn(c, step_id, run_id))

    def below(self, step_id: str) -> list[Turned]:
        """The steps below one, in the order in which they were asked for."""
        return in_transaction(reading(self._engine), lambda c: teams.below(c, step_id))
