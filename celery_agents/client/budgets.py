"""``agents.budgets``: how budgets stand, and releasing what is in doubt."""

from __future__ import annotations

from celery_agents import names
from celery_agents.client.control import Control
from celery_agents.contracts.budgets import BudgetState, Spent


class Budgets:
    """Lists the budgets of the workers, and releases what is in doubt; a worker does it."""

    def __init__(self, control: Control) -> None:
        self._control = control

    def __call__(self, *, tenant: str | None = None, timeout: float = 10.0) -> list[BudgetState]:
        """How each budget stands in its present window, by the journal.

        Of one per tenant, agent or run, each that has spent something, or reserved it; of those per
        tenant with ``tenant`` that one alone.
        """
        found = self._control.ask(names.BUDGETS, tenant).get(timeout=timeout)
        return [BudgetState.model_validate(state) for state in found]

    def release(self, name: str, subject: str | None = None, *, timeout: float = 10.0) -> Spent:
        """Count calls of a budget that are in doubt as ones that have cost nothing; their sum.

        Look at what the provider says first. ``subject`` is the one of several that have it.

        Raises:
            InvalidPayloadError: there is no such budget.
        """
        asked = self._control.ask(names.RELEASE, name, subject)
        return Spent.model_validate(asked.get(timeout=timeout))
