"""The bounds of one step while it runs: depth, steps, hand-overs and cost of all below it."""

from __future__ import annotations

from collections.abc import Mapping

from agents.governance.budgets import Account
from app.journal.schema.rows import Claimed
from app.journal.steps.bounds import Bound
from app.journal.stores.bounds import Bounds
from celery_agents.contracts.budgets import budget_of
from celery_agents.errors import LimitReachedError


class Allowance:
    """The caps of a step, by the names of the options, with those of the steps above."""

    def __init__(self, bounds: Bounds, claim: Claimed, caps: Mapping[str, float]) -> None:
        self.caps = caps
        self._store = bounds
        self._claim = claim
        self._bounds: tuple[Bound, ...] | None = None

    def bounds(self) -> tuple[Bound, ...]:
        """The step's bounds and those of the steps above, read once; none are not read."""
        if self._bounds is None:
            self._bounds = self._store.of(self._claim, self.caps) if self.caps else ()
        return self._bounds

    @property
    def budgeted(self) -> bool:
        """True when one of them is a budget."""
        return bool(budget_of(self.caps))

    def accounts(self) -> tuple[Account, ...]:
        """The accounts of its budgets: of the step, and of those above."""
        run_id = self._claim.run_id
        found = ((bound.step_id, budget_of(bound.caps)) for bound in self.bounds())
        return tuple(Account.of_run(step, budget, run_id) for step, budget in found if budget)

    def afford(self) -> None:
        """Look at what the calls of the run have cost.

        Raises:
            LimitReachedError: as much as they may.
        """
        if (spent := self._store.spent_up(self.bounds())) is not None:
            raise LimitReachedError(f"{spent}. The call was not made.")
