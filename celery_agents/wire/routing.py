"""Queues of other apps' tasks in a canvas: those that their own apps name.

A signature without a queue is routed by whoever publishes it. What follows a step is published by
an agents' worker, which knows neither the routes nor the default queue of another app.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from celery import Celery, current_app
from kombu.utils.functional import maybe_list

#: Options of a signature in which others stand.
FOLLOWS = ("link", "link_error", "chord", "chain")
#: Arguments of Celery's canvas in which they do.
_PARTS = ("tasks", "header", "body")


def name_queues(parts: Any, sender: Celery | None) -> None:
    """Give each task in these signatures, if it has none, the queue of its own app.

    ``sender`` is the app that sends them; of another app's tasks it knows nothing.
    """
    for part in _all(maybe_list(parts) or ()):
        options = part["options"]
        if options.keys() & {"queue", "exchange", "routing_key"}:
            continue
        app = getattr(part, "_app", None)
        if app is None or app is sender:
            app = current_app._get_current_object()  # noqa: SLF001 - Celery's way to it
        if app is not sender and (queue := _queue_of(app, part["task"])) is not None:
            options["queue"] = queue


def _all(parts: Iterable[Any]) -> Iterator[Any]:
    """List the signatures of tasks, wherever in a canvas they stand."""
    for part in parts:
        if not isinstance(part, dict) or not part.get("task"):
            continue
        below = [part["options"].get(name) for name in FOLLOWS]
        if part.get("subtask_type"):
            below += [part["kwargs"].get(name) for name in _PARTS]
        else:
            yield part
        for more in below:
            yield from _all(maybe_list(more) or ())


def _queue_of(app: Celery, task: str) -> str | None:
    """The queue to which an app sends one of its tasks; None when it has no such task."""
    known = app.tasks.get(task)
    if known is None:
        return None
    if isinstance(own := getattr(known, "queue", None), str):
        return own
    queue = app.amqp.router.route({}, task).get("queue")
    name = getattr(queue, "name", queue)
    return name if isinstance(name, str) else None
