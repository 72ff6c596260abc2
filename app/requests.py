"""What Celery's users do to messages holds for rows too: revoke, terminate, expires."""

from __future__ import annotations

import logging
from typing import Any

from celery import signals
from celery.worker.request import Request

from app.runtime import runtime_of
from celery_agents.errors import AgentsError

log = logging.getLogger(__name__)

#: How a task class names this module's request, as Celery wants it.
STEP_REQUEST = "app.requests:StepRequest"


class StepRequest(Request):
    """Celery's request of a step, whose ``terminate`` works in every pool."""

    def terminate(self, pool: Any, signal: Any = None) -> None:
        """``revoke(terminate=True)``: a step that runs is stopped on its loop, by its row.

        No process is killed for it, so the other steps of the worker go on.
        """
        if self.time_start:
            cancel_step(self.task.app, self.id)
        else:
            super().terminate(pool, signal)


def cancel_step(app: Any, step_id: str) -> None:
    """Cancel a step from the worker's main thread; a journal that is away only logs."""
    try:
        runtime = runtime_of(app)
        runtime.follow(runtime.journal.cancel(step_id))
    except AgentsError as error:
        log.warning("%s was revoked, but its row does not know yet: %s", step_id, error)


@signals.task_revoked.connect
def _revoked(sender: Any = None, request: Any = None, **_: Any) -> None:
    """A message that Celery dropped (revoked, or expired) must not be woken again."""
    if getattr(sender, "Request", None) != STEP_REQUEST:
        return
    cancel_step(sender.app, request.id)
    try:
        runtime_of(sender.app).journal.settle(request.id)  # Celery stored REVOKED itself
    except AgentsError:
        log.debug("Recovery settles %s", request.id)
