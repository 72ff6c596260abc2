"""Publishing messages for rows. A message that is lost here is made good by recovery."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from celery import Celery
from kombu.exceptions import OperationalError

from app.journal.rows import Wake
from celery_agents import names
from celery_agents.errors import redact
from celery_agents.shown import shown_args, shown_kwargs

log = logging.getLogger(__name__)


def message_options(wake: Wake) -> dict[str, Any]:
    """Options of the message for a row, for ``send_task`` and for signatures.

    The message carries no work, only its description for people: the row has the payload.
    """
    payload = wake.payload
    return {
        "task_id": wake.id,
        "queue": wake.queue,
        "priority": wake.priority,
        "root_id": wake.run_id,
        "parent_id": wake.parent_id,
        "headers": {names.JOURNALED: 1},
        "argsrepr": shown_args(payload.get("args", ())),
        "kwargsrepr": shown_kwargs(payload.get("kwargs", {})),
        "ignore_result": wake.parent_id is not None,
    }


def publish(app: Celery, wakes: Iterable[Wake], *, countdown: float | None = None) -> int:
    """Publish a message for each row, until one fails; returns how many went out."""
    sent = 0
    for wake in wakes:
        try:
            app.send_task(
                wake.task,
                countdown=countdown,
                add_to_parent=False,
                **(wake.envelope or {}),
                **message_options(wake),
            )
        except OperationalError as error:
            # Unknown, not failed: it may have been delivered. Recovery looks at the row again.
            log.warning("A message for %s may not have been sent: %s", wake.id, redact(error))
            break  # the broker is away: each further one would wait for it as long
        sent += 1
    return sent
