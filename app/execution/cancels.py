"""Listening for cancellations in the worker's main thread: its slots may all be taken."""

from __future__ import annotations

import logging
from typing import Any

from celery import Celery
from celery.bootsteps import ConsumerStep
from kombu import Consumer, Queue
from kombu.utils.uuid import uuid

from app.execution.request import cancel_step
from app.execution.runtime import runtime_of
from celery_agents.errors import AgentsError
from celery_agents.noted import note
from celery_agents.wire.cancelling import EXCHANGE, RUN, STEPS

log = logging.getLogger(__name__)


class Cancellations(ConsumerStep):
    """Listens beside Celery's own consumer; see celery_agents/wire/cancelling.py."""

    _app: Celery

    def start(self, consumer: Any) -> None:
        """Begin to listen."""
        self._app = consumer.app
        super().start(consumer)

    def stop(self, consumer: Any) -> None:
        """End listening; where the connection is gone, its consumer is, too."""
        if consumer.connection is not None:
            super().stop(consumer)

    def shutdown(self, consumer: Any) -> None:
        """End listening, unless the connection is gone."""
        if consumer.connection is not None:
            super().shutdown(consumer)

    def get_consumers(self, channel: Any) -> list[Consumer]:
        """Return a consumer of a queue of its own, which gets every cancellation."""
        name = f"agents.cancels.{uuid()}"
        queue = Queue(name, EXCHANGE, durable=False, auto_delete=True, exclusive=True)
        return [
            Consumer(
                channel,
                queues=[queue],
                callbacks=[self._heard],
                on_decode_error=_unreadable,
                accept=["json"],
                no_ack=True,
            )
        ]

    def _heard(self, body: Any, _message: Any) -> None:
        match body:
            case {"run": str(run_id)}:
                cancel_step(self._app, run_id)
            case {"steps": [*ids]}:
                self._stop([i for i in ids if isinstance(i, str)])
            case _:
                note(log, "cancel_unknown", "A cancellation says neither %s nor %s", RUN, STEPS)

    def _stop(self, step_ids: list[str]) -> None:
        try:
            runtime_of(self._app).cancel_steps(step_ids)
        except AgentsError as error:
            note(log, "cancel_heard", "Heartbeats will bring a cancellation", error=error)


def _unreadable(_message: Any, error: Exception) -> None:
    note(log, "cancel_unreadable", "A cancellation cannot be read", error=error)
