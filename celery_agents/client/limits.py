"""``agents.limits``: how limits stand, and closing what is to be left alone for a while."""

from __future__ import annotations

import builtins

from celery_agents import names
from celery_agents.client.control import Control
from celery_agents.contracts.base import period_of
from celery_agents.contracts.limits import LimitState


class Limits:
    """Lists the limits of the workers, closes and opens them; a worker does it."""

    def __init__(self, control: Control) -> None:
        self._control = control

    def list(self, *, timeout: float = 10.0) -> builtins.list[LimitState]:
        """How each limit stands; of one per tenant or run, those for which somebody waits."""
        found = self._control.ask(names.LIMITS).get(timeout=timeout)
        return [LimitState.model_validate(state) for state in found]

    def pause(self, name: str, seconds: float | None = None, *, timeout: float = 10.0) -> None:
        """Let nothing pass a limit, or a provider's key, for so long; else until it is opened.

        ``name`` is that of a limit or, as ``list`` shows it, a key: ``provider:openai``.

        Raises:
            InvalidPayloadError: there is none of that name.
        """
        asked = self._control.ask(names.PAUSE, name, period_of(seconds, "seconds"))
        asked.get(timeout=timeout)

    def resume(self, name: str, *, timeout: float = 10.0) -> None:
        """Open a limit with the keys that it covers, or a key; also after a provider's refusal.

        Raises:
            InvalidPayloadError: there is none of that name.
        """
        self._control.ask(names.RESUME, name).get(timeout=timeout)
