"""Steps and chains of steps, built with Celery's canvas, as messages.

``apply_async`` clones and freezes every link of a chain, then sends the first one by itself. Where
a canvas is nothing but steps one after another, its message says the same at a fifth of the cost;
groups, chords, links and stamps are Celery's business.
"""

from __future__ import annotations

from typing import Any

from celery import Celery, Signature

from celery_agents.wire.ids import new_id
from celery_agents.wire.messages import Composed, compose

#: Options of a signature that say no more than a step's message does.
_PLAIN = frozenset(
    {"queue", "priority", "headers", "argsrepr", "kwargsrepr", "task_id", "reply_to"}
)


def message_of(app: Celery, signature: Signature, parent: Any) -> Composed | None:
    """The queue and the composed message of a plain canvas; None when it is not one.

    Its links get ids unless ``freeze`` gave them some; the canvas stays as it is. ``parent`` is the
    request of the task that sends it, if one does.
    """
    links = _links(signature)
    if not links or not all(_is_plain(link) for link in links):
        return None
    first, *rest = [_named(link, app.thread_oid) for link in links]
    options = dict(first["options"])
    queue = options.pop("queue")
    message = compose(
        app,
        first["task"],
        queue=queue,
        priority=options.pop("priority"),
        marks=options.pop("headers", None) or {},
        args=first["args"],
        kwargs=first["kwargs"],
        chain=rest[::-1] or None,  # as the protocol has it: the next one is taken from its end
        root_id=parent and (parent.root_id or parent.id),
        parent_id=parent and parent.id,
        **options,
    )
    return queue, message


def _links(signature: Signature) -> list[Any]:
    if signature.subtask_type is None:
        return [signature]
    if (
        signature.subtask_type != "chain"
        or signature.args
        or signature.options.keys() - {"task_id"}
    ):
        return []
    *links, last = signature.kwargs["tasks"]
    options = {**last["options"], **signature.options}  # a chain's id is that of its end
    return [*links, {**last, "options": options}]


def _is_plain(link: Any) -> bool:
    options = link["options"]
    named = {"queue", "priority"} <= options.keys() <= _PLAIN
    return link["subtask_type"] is None and named


def _named(link: Any, oid: str) -> dict[str, Any]:
    options = {"reply_to": oid, **link["options"]}
    if "task_id" not in options:
        options["task_id"] = new_id()
    return {**link, "options": options}
