"""Publishing messages for rows. A message that is lost here is made good by recovery."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from typing import Any

from celery import Celery
from kombu.exceptions import BatchPublishError, OperationalError

from app.journal.rows import Wake
from app.outbox import BATCH, Collector
from celery_agents import names
from celery_agents.errors import redact
from celery_agents.shown import shown_args, shown_kwargs

log = logging.getLogger(__name__)


def message_options(wake: Wake) -> dict[str, Any]:
    """What a row's message says beside its task, as ``amqp.as_task_v2`` takes it.

    The message carries no work, only its description for people: the row has the payload. The
    members of a step are a group, as they would be in a canvas.
    """
    payload = wake.payload
    return {
        "task_id": wake.id,
        "root_id": wake.run_id,
        "parent_id": wake.parent_id,
        "group_id": wake.parent_id,
        "argsrepr": shown_args(payload.get("args", ())),
        "kwargsrepr": shown_kwargs(payload.get("kwargs", {})),
        "ignore_result": wake.parent_id is not None,
    }


def publish(app: Celery, wakes: Iterable[Wake], *, countdown: float | None = None) -> int:
    """Publish a message for each row, in few writes; returns how many went out.

    The first of many are worked on while the others are still being written.
    """
    wakes = list(wakes)
    for start in range(0, len(wakes), BATCH):
        try:
            _write(app, wakes[start : start + BATCH], countdown)
        except (BatchPublishError, OperationalError) as error:
            # Unknown, not failed: some may have been delivered. Recovery looks at the rows again.
            log.warning(
                "Messages for %s and %d others may not have been sent: %s",
                wakes[start].id,
                len(wakes) - start - 1,
                redact(error.__cause__ or error),
            )
            return start
    return len(wakes)


def _write(app: Celery, wakes: Sequence[Wake], countdown: float | None) -> None:
    with app.producer_or_acquire() as producer, batch_of(producer):
        for wake in wakes:
            _send(app, producer, wake, countdown)


def _send(app: Celery, producer: Any, wake: Wake, countdown: float | None) -> None:
    """What ``app.send_task`` does, without what is the same for all of our messages: a third."""
    options = {"queue": wake.queue, "priority": wake.priority, "headers": {names.JOURNALED: 1}}
    if wake.envelope:  # what follows a run, as its client said it
        app.send_task(
            wake.task,
            countdown=countdown,
            add_to_parent=False,
            producer=producer,
            retry=False,
            **options,
            **{**message_options(wake), **wake.envelope},
        )
        return
    message = app.amqp.as_task_v2(name=wake.task, countdown=countdown, **message_options(wake))
    # Nothing to declare: by its name alone a queue is reached through the default exchange.
    app.amqp.send_task_message(producer, wake.task, message, retry=False, declare=[], **options)


def batch_of(producer: Any) -> Any:
    """One write for what is published within; a fiber's collector is that by itself."""
    return nullcontext() if isinstance(producer, Collector) else producer.batch(max_size=BATCH)
