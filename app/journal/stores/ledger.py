"""The accounts of budgets, by the journal."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import Engine

from agents.governance.budgets import Amount
from app.journal.schema.engine import read_clock, reading
from app.journal.schema.transactions import in_transaction
from app.journal.steps import spending
from app.journal.steps.spending import AccountState, CallKey, Holding, Place


class Ledger:
    """Reads accounts, and releases what is in doubt."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def now(self) -> float:
        """The database's clock, in seconds since 1970."""
        return in_transaction(reading(self._engine), read_clock)

    def standing(self, place: Place, run_id: str | None) -> AccountState:
        """An account as it stands; ``run_id``: of that run alone."""
        if run_id is not None:
            of_run = spending.of_run
            return in_transaction(reading(self._engine), lambda c: of_run(c, place, run_id))
        return self.together([place])[place]

    def together(self, places: Collection[Place]) -> dict[Place, AccountState]:
        """These accounts and all others that begin when one of them does."""
        return in_transaction(reading(self._engine), lambda c: spending.together(c, places))

    def fates(self, keys: Sequence[CallKey]) -> dict[CallKey, Amount | Holding]:
        """The calls of these keys that have rows: settled at an amount, or reserved still."""
        return in_transaction(reading(self._engine), lambda c: spending.fates(c, keys))

    def release(self, budget: str, subject: str | None) -> list[Holding]:
        """Release what calls in doubt have reserved in a budget; those calls."""

        def is_of(name: str) -> bool:
            owner, _, rest = name.lstrip(spending.RUN).partition(":")
            return owner == budget and subject in (None, rest)

        found = in_transaction(reading(self._engine), spending.doubts)
        chosen = [one for one in found if any(is_of(name) for name, _ in one.places)]
        keys = [one.key for one in chosen]
        freed = in_transaction(self._engine, lambda c: spending.released(c, keys))
        return [one for one in chosen if one.key in freed]
