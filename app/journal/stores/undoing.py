"""The journal as the step that undoes a failed run uses it."""

from __future__ import annotations

from sqlalchemy import Engine

from agents.patterns.compensate import Undoable
from app.journal.schema.engine import reading
from app.journal.schema.rows import Aftermath
from app.journal.schema.transactions import in_transaction
from app.journal.steps import compensations
from app.journal.steps.compensations import Uncertain
from celery_agents.contracts.base import JsonValue


class Undoings:
    """The work of a run that is to be undone; see ``app/journal/steps/compensations.py``."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def let_go(self, run_id: str) -> Aftermath | None:
        """End what of a failed run is open; None when nothing is, else running steps to stop."""
        return in_transaction(self._engine, lambda c: compensations.let_go(c, run_id))

    def finished(self, run_id: str) -> list[Undoable]:
        """Steps that can be undone, the last that finished first."""
        return in_transaction(reading(self._engine), lambda c: compensations.finished(c, run_id))

    def uncertain(self, run_id: str) -> list[Uncertain]:
        """Asked agents' steps that had begun and did not succeed."""
        return in_transaction(reading(self._engine), lambda c: compensations.uncertain(c, run_id))

    def told(self, step_id: str) -> tuple[JsonValue, JsonValue]:
        """Input and output of a step that succeeded."""
        return in_transaction(reading(self._engine), lambda c: compensations.told(c, step_id))

    def turns(self, run_id: str) -> int:
        """How often people asked for the compensation again."""
        return in_transaction(reading(self._engine), lambda c: compensations.turns(c, run_id))
