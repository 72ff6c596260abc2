"""Refusals that become a step's outcome, where the caller would rather fail than wait."""

from __future__ import annotations

from agents.catalog.registry import Registered
from app.admission.guard import Asked, Next, Reply, WhenOpen
from celery_agents.contracts.outcome import ErrorInfo, Outcome, State
from celery_agents.errors import AwaitsAnswerError, RetryableError


class RefusalGuard:
    """Make a refusal the step's outcome where the caller would rather fail than wait."""

    def concerns(self, agent: Registered) -> bool:  # noqa: ARG002 - as all guards
        """Return False: what is refused for now waits, unless the turn says otherwise."""
        return False

    async def __call__(self, asked: Asked, go_on: Next) -> Reply:
        try:
            return await go_on(asked)
        except RetryableError as error:
            if error.attempted or not _fails(asked.when_open, error.kind):
                raise
            if isinstance(error, AwaitsAnswerError):  # nobody refuses: the answer is on its way
                raise
            usage = asked.step.spent
            return Outcome(state=State.FAILED, error=ErrorInfo.of(error), usage=usage)


def _fails(when_open: WhenOpen, kind: str) -> bool:
    return when_open == "fail" if isinstance(when_open, str) else kind in when_open
