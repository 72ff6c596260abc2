"""The actor of ``bench/actors.py``."""

from __future__ import annotations

from celery_agents import ActorContext, actor


@actor
class Sum:
    """A sum of numbers."""

    total: int = 0

    async def add(self, me: ActorContext, number: int) -> int:  # noqa: ARG002 - each method has it
        """Adds one."""
        self.total += number
        return self.total
