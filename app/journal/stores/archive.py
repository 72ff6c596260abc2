"""The journal for commands: they need no worker, and hold no lease."""

from __future__ import annotations

from collections import Counter
from typing import Any

from sqlalchemy import Engine

from app.journal.queries import reads
from app.journal.retention.cleanup import Retention, what_would_go
from app.journal.schema import migrate
from app.journal.schema.engine import reading
from app.journal.schema.rows import Aftermath
from app.journal.schema.transactions import in_transaction
from app.journal.steps import cancels
from app.journal.steps.joins import Rules


class Archive:
    """Runs and agents, as people ask for them."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def revision(self) -> str | None:
        """Of the schema that the database has."""
        return in_transaction(self._engine, migrate.current)

    def agents(self) -> list[dict[str, Any]]:
        """The agents that workers have offered."""
        return in_transaction(reading(self._engine), reads.agents)

    def has_run(self, run_id: str) -> bool:
        """Return whether there is such a run."""
        return in_transaction(reading(self._engine), lambda c: reads.has_step(c, run_id))

    def run_tree(self, run_id: str) -> dict[str, Any] | None:
        """A run as a tree of steps; None when there is no such run."""
        return in_transaction(reading(self._engine), lambda c: reads.run_tree(c, run_id))

    def events(self, run_id: str) -> list[dict[str, Any]]:
        """Return the events of a run."""
        return in_transaction(reading(self._engine), lambda c: reads.events(c, run_id))

    def what_would_go(self, retention: Retention) -> Counter[str]:
        """Rows by table that cleaning would delete now."""
        return in_transaction(reading(self._engine), lambda c: what_would_go(c, retention))

    def cancel(self, run_id: str, rules: Rules) -> Aftermath:
        """Cancel a run with all its steps."""
        return cancels.stop(self._engine, run_id, rules)
