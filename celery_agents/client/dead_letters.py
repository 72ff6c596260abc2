"""``agents.dead_letters``: messages that nobody could run, and steps that were given up."""

from __future__ import annotations

from typing import Any

from celery_agents import names
from celery_agents.client.control import Control
from celery_agents.contracts.base import id_of

Letter = dict[str, Any]
Letters = list[Letter]


class DeadLetters:
    """Lists dead letters, and lets them run again or forgets them; a worker does it."""

    def __init__(self, control: Control) -> None:
        self._control = control

    def list(self, limit: int = 100, *, timeout: float = 10.0) -> Letters:
        """The newest ones, without their payloads."""
        found: Letters = self._control.ask(names.DEAD_LETTERS, limit).get(timeout=timeout)
        return found

    def __call__(self, limit: int = 100, *, timeout: float = 10.0) -> Letters:
        """The same, as it was spelt before the group."""
        return self.list(limit, timeout=timeout)

    def get(self, letter_id: str, *, timeout: float = 10.0) -> Letter | None:
        """One with its payload, redacted; None when there is none of that id."""
        asked = self._control.ask(names.DEAD_LETTER, id_of(letter_id))
        found: Letter | None = asked.get(timeout=timeout)
        return found

    def requeue(self, letter_id: str, *, timeout: float = 10.0) -> None:
        """Let one run again, with all its attempts.

        Raises:
            InvalidPayloadError: there is none of that id, or it cannot run again.
        """
        self._control.ask(names.REQUEUE, id_of(letter_id)).get(timeout=timeout)

    def drop(self, letter_id: str, *, timeout: float = 10.0) -> bool:
        """Forget one; False when there was none of that id."""
        return bool(self._control.ask(names.DROP, id_of(letter_id)).get(timeout=timeout))
