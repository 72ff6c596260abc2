"""Dead letters, for recovery and for people."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Engine

from app.journal.schema.rows import Wake
from app.journal.schema.transactions import in_transaction
from app.journal.steps import dead_letters


class Letters:
    """Dead messages and dead steps."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def insert(self, rows: Sequence[dict[str, Any]], most: int) -> int:
        """Keep letters; returns how many old ones had to go."""
        return in_transaction(
            self._engine, lambda c: dead_letters.insert_letters(c, rows=rows, most=most)
        )

    def listed(self, limit: int) -> list[dict[str, Any]]:
        """The newest letters of both kinds, without what they hold."""
        return in_transaction(self._engine, lambda c: dead_letters.listed(c, limit))

    def find(self, letter_id: str) -> dict[str, Any] | None:
        """One letter, with what it holds (redacted)."""
        return in_transaction(self._engine, lambda c: dead_letters.find(c, letter_id))

    def message(self, letter_id: str) -> Any:
        """The row of a dead message; None when there is none of that id."""
        return in_transaction(self._engine, lambda c: dead_letters.message_of(c, letter_id))

    def forget_message(self, letter_id: str) -> bool:
        """Delete a dead message; returns whether there was one."""
        return in_transaction(self._engine, lambda c: dead_letters.forget_message(c, letter_id))

    def requeue_step(
        self, step_id: str, wake_grace_s: float, *, forget: Callable[[str], object]
    ) -> Wake:
        """Make a dead step ready again; see :func:`dead_letters.requeue_step`."""
        return in_transaction(
            self._engine,
            lambda c: dead_letters.requeue_step(c, step_id, wake_grace_s, forget=forget),
        )

    def drop(self, letter_id: str) -> bool:
        """Delete a message, or list a step no more; returns whether there was such a letter."""
        return in_transaction(
            self._engine,
            lambda c: (
                dead_letters.forget_message(c, letter_id) or dead_letters.drop_step(c, letter_id)
            ),
        )
