"""The bounds of runs, for their steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import Engine

from app.journal.schema.engine import reading
from app.journal.schema.rows import Claimed
from app.journal.schema.transactions import in_transaction
from app.journal.steps import bounds
from app.journal.steps.bounds import Bound


class Bounds:
    """Bounds that hold for a step, and whether one is used up.

    Args:
        engine: the journal's.
        default: the ``max_cost`` of every run, in dollars.
    """

    def __init__(self, engine: Engine, default: float | None) -> None:
        self._engine = engine
        self._default = default

    def of(self, claim: Claimed, caps: Mapping[str, float]) -> tuple[Bound, ...]:
        """The bounds that hold for a step with these caps; see :func:`bounds.bounds_of`."""
        return in_transaction(
            reading(self._engine),
            lambda c: bounds.bounds_of(c, claim, caps, default=self._default),
        )

    def spent_up(self, given: Sequence[Bound]) -> str | None:
        """Say that a bound of the cost is reached; None: it is not."""
        return in_transaction(reading(self._engine), lambda c: bounds.spent_up(c, given))
