"""What Celery's users do to messages holds for rows too: revoke, terminate, expires."""

from __future__ import annotations

import logging
import time
from typing import Any

from celery import signals
from celery.worker import state
from celery.worker.request import Request

from app.execution.runtime import runtime_of
from app.layout import qualified
from celery_agents.errors import AgentsError

log = logging.getLogger(__name__)

#: How a task class names this module's request, as Celery wants it.
STEP_REQUEST = qualified("app.execution.request:StepRequest")


class StepRequest(Request):
    """Celery's request of a step, whose ``terminate`` works in every pool."""

    def __init__(self, message: Any, *args: Any, **kwargs: Any) -> None:
        """The body travels on as it was decoded here: the tracer would decode it once more."""
        super().__init__(message, *args, **kwargs)
        self._request_dict["body_bytes"] = len(message.body)
        if not self._decoded:
            self._body = message.payload
            self._content_type = self._content_encoding = None

    def on_accepted(self, pid: int, time_accepted: float) -> None:
        """As Celery's, but that the count of a name is added to and not merged as a Counter."""
        self.worker_pid = pid
        self.time_start = time.time() - (time.monotonic() - time_accepted)
        state.requests[self.id] = self
        state.active_requests.add(self)
        state.total_count[self.name] += 1
        state.all_total_count[0] += 1
        self.send_event("task-started")
        if self._terminate_on_ack is not None:
            self.terminate(*self._terminate_on_ack)

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
