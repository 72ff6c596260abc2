"""Celery's revoke, terminate and expires, which hold for rows as they do for messages."""

from __future__ import annotations

import logging
import time
from typing import Any

from celery import Task, signals
from celery.app.task import Context
from celery.worker import state
from celery.worker.request import Request

from app.execution.runtime import runtime_of
from app.execution.submission import opened_args
from app.layout import qualified
from app.messaging.sharing import Metered
from app.telemetry.logs import returned
from celery_agents import names
from celery_agents.errors import AgentsError, InvalidPayloadError
from celery_agents.noted import note
from celery_agents.sealing import CANVAS
from celery_agents.wire.shown import HIDDEN, shown_text, watched

log = logging.getLogger(__name__)

#: How a task class names this module's requests, as Celery wants it.
SHOWN_REQUEST = qualified("app.execution.request:ShownRequest")
STEP_REQUEST = qualified("app.execution.request:StepRequest")


#: Headers of our clients' messages, and of those that wake a row.
_OURS = frozenset({names.INTAKE, names.JOURNALED})
#: Of a request's fields those that are no header of a message's own, as Celery has it.
_CELERYS = frozenset({*vars(Context), "lang", "task", "argsrepr", "kwargsrepr", "compression"})
#: Fields of task events that hold what agents were asked, and answered.
_TELLING = ("args", "kwargs", "result", "exception", "traceback")


class ShownRequest(Request):
    """Celery's request, whose events hold no secret: Flower shows them to whoever may look."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Show the arguments as other producers do, but redacted.

        Our own clients redact what they send, and name it by a header of theirs.
        """
        super().__init__(*args, **kwargs)
        told = self._request_dict
        if not _OURS.isdisjoint(told):
            return
        for name in ("argsrepr", "kwargsrepr"):
            if isinstance(text := told.get(name), str):
                told[name] = shown_text(text) if self._app.seals is None else HIDDEN
                setattr(self, f"_{name}", told[name])

    def send_event(self, type: str, **fields: Any) -> None:  # noqa: A002 - Celery's name
        """As Celery's."""
        if watched(self._eventer):
            if "result" in fields and self._app.seals is not None:
                fields["result"] = HIDDEN
            for name in _TELLING:
                if isinstance(text := fields.get(name), str):
                    fields[name] = shown_text(text)
            super().send_event(type, **fields)


class ShownTask(Task):
    """Base of the service's tasks that are no steps: their events hold no secret either."""

    abstract = True
    Request = SHOWN_REQUEST
    throws = (AgentsError,)  # expected: logged in one line, without a traceback

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Do the work.

        Raises:
            InvalidPayloadError: it takes no such arguments.
            UnreadableValueError: they are encrypted, and cannot be decrypted.
        """
        args, kwargs = opened_args(self.app, self.request.id or CANVAS, args, kwargs)
        try:
            self.__header__(*args, **kwargs)
        except TypeError as error:
            raise InvalidPayloadError(f"{self.name}: {error}") from None
        return self.work(*args, **kwargs)

    def work(self, *args: Any, **kwargs: Any) -> Any:
        """Do the task's work, with arguments that it takes."""
        return self.run(*args, **kwargs)


class StepRequest(ShownRequest):
    """The request of a step, whose ``terminate`` works in every pool."""

    #: Has a meter of the seconds for which tenants use slots, in pools that have none themselves.
    slots: Metered | None = None

    def __init__(self, message: Any, *args: Any, **kwargs: Any) -> None:
        """Keep the body as it was decoded here, so that the tracer need not decode it again.

        And tell the message's own headers, which Celery's context would gather at ten times the
        cost.
        """
        super().__init__(message, *args, **kwargs)
        told = self._request_dict
        if told.get("headers") is None:
            told["headers"] = {n: v for n, v in told.items() if n not in _CELERYS}
        told["body_bytes"] = len(message.body)
        if not self._decoded:
            self._body = message.payload
            self._content_type = self._content_encoding = None

    def revoked(self) -> bool:
        """As Celery's; most have nothing of what that looks at, and are asked twice."""
        plain = not (self._already_revoked or self._expires or self.stamped_headers)
        if plain and self.id not in state.revoked:
            return False
        return bool(super().revoked())

    def on_accepted(self, pid: int, time_accepted: float) -> None:
        """As Celery's, but a task's count is incremented, not merged as a Counter."""
        self.worker_pid = pid
        self.time_start = time.time() - (time.monotonic() - time_accepted)
        state.requests[self.id] = self
        state.active_requests.add(self)
        state.total_count[self.name] += 1
        state.all_total_count[0] += 1
        self.send_event("task-started")
        if self.slots is not None and self.slots.meter is not None:
            self.slots.meter.begin(self.id, self._request_dict.get(names.TENANT) or "")
        if self._terminate_on_ack is not None:
            self.terminate(*self._terminate_on_ack)

    def acknowledge(self) -> None:
        """As Celery's; a step is acknowledged when its slot is free."""
        self._leave()
        super().acknowledge()

    def _leave(self) -> None:
        if self.slots is not None and self.slots.meter is not None:
            self.slots.meter.end(self.id)

    def reject(self, requeue: bool = False) -> None:
        """As Celery's; note the id, so that the log tells of the message only once."""
        self._leave()
        if requeue:
            returned.put(self.id, None)
        super().reject(requeue=requeue)

    def terminate(self, pool: Any, signal: Any = None) -> None:
        """Stop a running step on its loop, by its row (``revoke(terminate=True)``).

        No process is killed for it, so the other steps of the worker go on.
        """
        if self.time_start:
            cancel_step(self.task.app, self.id)
        else:
            super().terminate(pool, signal)


def cancel_step(app: Any, step_id: str) -> None:
    """Cancel a step from the worker's main thread; only log when the journal is away."""
    try:
        runtime = runtime_of(app)
        runtime.follow(runtime.journal.cancel(step_id))
    except AgentsError as error:
        text = "%s was revoked, but its row does not know yet"
        note(log, "revoked", text, step_id, error=error)


@signals.task_revoked.connect
def _revoked(sender: Any = None, request: Any = None, **_: Any) -> None:
    """Cancel and settle the row of a message that Celery dropped (revoked, or expired)."""
    if getattr(sender, "Request", None) != STEP_REQUEST:
        return
    cancel_step(sender.app, request.id)
    try:
        runtime_of(sender.app).journal.settle(request.id)  # Celery stored REVOKED itself
    except AgentsError as error:
        note(log, "settle", "%s is not settled yet; recovery does it", request.id, error=error)
