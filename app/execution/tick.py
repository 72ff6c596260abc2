"""The base of what beat sends."""

from __future__ import annotations

from typing import Any

from app.execution.request import ShownTask
from app.execution.runtime import runtime_of
from celery_agents.contracts.base import period_of


class TickTask(ShownTask):
    """A task that works once a turn, however often and by how many beats it is sent.

    The function gets the runtime. Callers may say ``every_s``, as beat does: then only the first
    message of a turn of so many seconds works, and None is the answer to the others.
    """

    abstract = True

    def __init_subclass__(cls, **options: Any) -> None:
        """Callers send (every_s), the function takes (runtime)."""
        super().__init_subclass__(**options)
        cls.__header__ = staticmethod(_header)

    def work(self, every_s: float | None = None) -> Any:
        """Work, if the turn is still to be taken."""
        every_s = period_of(every_s, "every_s")
        runtime = runtime_of(self.app, self.request.hostname)
        if every_s is not None and not runtime.journal.take_turn(self.name, every_s):
            return None
        return self.run(runtime)


def _header(every_s: float | None = None) -> None:
    """The signature that a message has to fit; read by Celery, never called."""
