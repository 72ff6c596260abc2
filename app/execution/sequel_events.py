"""Celery's events of steps that ran on without a message, for Flower and other watchers."""

from __future__ import annotations

import os
import time
from functools import partial
from typing import Any

from celery import Celery
from celery.utils.saferepr import saferepr
from celery.worker import state

from app.concurrency.fibers import current
from app.execution.attempts.ends import Ended, Ending
from app.execution.attempts.unwritten import once_written
from app.execution.publish import SENT, sent_to
from app.journal.schema.rows import Claimed
from celery_agents.wire.shown import HIDDEN, shown_args, shown_kwargs, shown_text, watched

#: Characters of a result, as of steps that have a message.
_RESULT = 200


def tell_sequel(
    app: Celery, message_id: str, claim: Claimed, ending: Ending, took_s: float
) -> None:
    """Tell whoever watches of a step that ran on behind the one of a message.

    In the worker's main process alone, which has the connection for that; and in its main thread.
    """
    eventer = getattr(state.requests.get(message_id), "_eventer", None)
    if not watched(eventer):  # as without -E: nobody is to be woken
        return
    ended_at = time.time()
    events = _events(claim, ending, took_s, hides=app.seals is not None)
    if not app.conf.task_send_sent_event:
        del events[0]
    tell = partial(_send, eventer, events, ended_at, took_s)
    fiber = current()
    if fiber is not None and fiber.job is not None:
        tell = partial(fiber.job.told, tell)
    once_written(claim, tell)


def _events(
    claim: Claimed, ending: Ending, took_s: float, *, hides: bool
) -> list[tuple[str, dict[str, Any]]]:
    """All that Celery tells of such a step; the first one is of the message that it would have."""
    told = claim.payload
    about = {
        "name": claim.task,
        "args": HIDDEN if hides else shown_args(told["args"]),
        "kwargs": HIDDEN if hides else shown_kwargs(told["kwargs"]),
        "root_id": claim.run_id,
        "parent_id": claim.parent_id,
        "retries": 0,
        "eta": None,
        "expires": None,
    }
    events: list[tuple[str, dict[str, Any]]] = [
        (SENT, about | sent_to(claim.queue)),
        ("task-received", about),
        ("task-started", {"pid": os.getpid()}),
    ]
    if isinstance(ending, Ended):  # as of any member: none raises, and its parent reads its row
        outcome = ending.outcome
        value: Any = outcome.value
        if not outcome.ok:
            value = {"state": outcome.state, "error": outcome.error and outcome.error.kind}
        result = HIDDEN if hides else shown_text(saferepr(value, _RESULT))
        events.append(("task-succeeded", {"result": result, "runtime": took_s}))
    return [(kind, {**fields, "uuid": claim.id}) for kind, fields in events]


def _send(
    eventer: Any, events: list[tuple[str, dict[str, Any]]], ended_at: float, took_s: float
) -> None:
    for kind, fields in events:
        at = ended_at if kind == "task-succeeded" else ended_at - took_s
        eventer.send(kind, timestamp=at, **fields)
