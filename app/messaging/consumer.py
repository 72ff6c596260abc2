"""Celery's consumer; messages that it would drop, or that would end it, become dead letters."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from typing import Any

from celery import signals
from celery.exceptions import NotRegistered
from celery.utils.objects import Bunch
from celery.worker.consumer import Consumer as CeleryConsumer
from redis.exceptions import ResponseError

from app.messaging.envelope import MalformedError, check_task
from app.messaging.transport import REFUSED_S, Channel
from celery_agents import names
from celery_agents.errors import InvalidPayloadError, redact
from celery_agents.noted import note, noting
from celery_agents.values import has_halves

log = logging.getLogger(__name__)

#: What Celery raises for a message that it cannot read. Not KeyError and its kin: to kombu these
#: are lost connections, and the message comes again.
_BAD = (TypeError, ValueError, AttributeError)


#: Task events are gathered for so long, or until there are so many. Celery sends them at every
#: turn of its loop and 24 at a time, which costs a busy worker a quarter of its main thread.
EVENTS_S = 0.05
EVENTS_MAX = 500


#: A Redis that refuses again within so long is let alone for twice as long as before, up to this.
_REFUSED_LATELY_S, _PAUSE_MAX_S = 10.0, 8.0


class Consumer(CeleryConsumer):
    """``worker_consumer`` of the workers."""

    _events_due = False
    #: When Redis refused something for the last time, and how long it was let alone then.
    _refused_at, _pause_s = -math.inf, REFUSED_S

    def register_with_event_loop(self, hub: Any) -> None:
        """As Celery's, with a limit to the events that wait to be sent."""
        super().register_with_event_loop(hub)
        if self.event_dispatcher:
            self.event_dispatcher.buffer_limit = EVENTS_MAX

    def on_send_event_buffered(self) -> None:
        """Send task events soon, together with those that follow."""
        if self.hub and not self._events_due:
            self._events_due = True
            self.hub.call_soon(self.hub.call_later, EVENTS_S, self._send_events)

    def call_soon_ack(self, p: Any, *args: Any, **kwargs: Any) -> Any:
        """Acknowledge at this turn of the loop: at the next one it may sleep before it looks.

        The transport only notes it here, and writes all that a turn brings (see transport.py).
        """
        if self.hub and threading.get_ident() == self.hub._loop_thread:  # noqa: SLF001
            return p(*args, **kwargs)
        return super().call_soon_ack(p, *args, **kwargs)

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """As Celery's, after a pause for a Redis that refuses since it is full, say."""
        super().on_connection_error_after_connected(exc)
        if isinstance(exc, ResponseError):  # no message is taken meanwhile; steps go on
            begin = time.monotonic()
            again = begin - self._refused_at < _REFUSED_LATELY_S
            self._pause_s = min(2 * self._pause_s, _PAUSE_MAX_S) if again else REFUSED_S
            log.warning("Redis refuses, and is asked again in %.0f s: %s", self._pause_s, exc)
            time.sleep(self._pause_s)
            self._refused_at = time.monotonic()

    def _send_events(self) -> None:
        self._events_due = False
        self._flush_events()

    def shutdown(self) -> None:
        """End; events that wait are sent first."""
        with noting(log, "last_events", "The last task events were not sent"):
            self._flush_events()
        super().shutdown()

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], Any]:
        """As Celery's; messages that it cannot take become dead letters."""
        handle = super().create_task_handler(*args, **kwargs)

        def on_task_received(message: Any) -> Any:
            try:
                check_task(message)
            except MalformedError as error:
                self._tell(message, InvalidPayloadError(f"The message is a dead letter: {error}"))
                return bury(message, error.cause, str(error))
            try:
                return handle(message)
            except _BAD as error:  # a field that the check does not know
                note(log, "take", "Celery could not take a message", error=error, trace=True)
                reason = f"{type(error).__name__}: {error}"
                self._tell(message, InvalidPayloadError(f"The message is a dead letter: {reason}"))
                return bury(message, "unreadable", reason)

        return on_task_received

    def on_unknown_task(self, body: Any, message: Any, exc: Exception) -> None:  # noqa: ARG002
        """Celery's way, but that the message is kept and its arguments are not logged."""
        name, task_id = message.headers["task"], message.headers["id"]
        bury(message, "unknown_task", f"No task {name} is registered with this worker.")
        queue = message.delivery_info.get("routing_key")
        told = (
            f"{name} (no worker of the queue {queue!r} has it; what follows a step goes to the "
            "queue that its signature names: .set(queue=…))"
        )
        self._tell(message, NotRegistered(told))
        signals.task_unknown.send(sender=self, message=message, exc=exc, name=name, id=task_id)

    def _tell(self, message: Any, error: Exception) -> None:
        """Store the error for whoever waits, unless it is a row's own message: the row goes on."""
        headers, task_id = message.headers, message.headers.get("id")
        if not isinstance(task_id, str) or not task_id or has_halves(task_id):
            return
        if headers.get(names.JOURNALED):
            return
        request = Bunch(
            name=headers.get("task"),
            chord=None,
            root_id=headers.get("root_id"),
            correlation_id=message.properties.get("correlation_id"),
            reply_to=message.properties.get("reply_to"),
            errbacks=None,
            **{names.TENANT: headers.get(names.TENANT)},
        )
        # Whatever goes wrong here would end the worker, and the next one that gets the message.
        with noting(log, "tell", "Nobody is told that a message was not taken"):
            self.app.backend.mark_as_failure(task_id, error, request=request)

    def on_unknown_message(self, body: Any, message: Any) -> None:  # noqa: ARG002
        """Make a message that names no task a dead letter."""
        bury(message, "bad_headers", "The message names no task.")

    def on_invalid_task(self, body: Any, message: Any, exc: Exception) -> None:  # noqa: ARG002
        """Make a message that Celery finds invalid a dead letter."""
        bury(message, "invalid_task", str(exc))

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        """Make a message whose body cannot be read a dead letter."""
        bury(message, "unreadable_body", f"The body cannot be read: {type(exc).__name__}.")


def bury(message: Any, cause: str, reason: str) -> None:
    """Make a message that Celery got a dead letter."""
    if not isinstance(message.channel, Channel):  # another transport keeps none
        log.error("A message was dropped (%s): %s", cause, redact(reason))
        message.reject()
        return
    task, step_id = message.headers.get("task"), message.headers.get("id")
    message.channel.bury(
        message.delivery_tag,
        cause,
        reason,
        task=task if isinstance(task, str) else None,
        step_id=step_id if isinstance(step_id, str) else None,
    )
    message._state = "REJECTED"  # noqa: SLF001 - it is off the queue
