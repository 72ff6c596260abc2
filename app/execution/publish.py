"""Publishing messages for rows. A message that is lost here is made good by recovery."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from celery import Task
from celery.result import AsyncResult
from kombu.exceptions import OperationalError
from kombu.message import Message

from app.concurrency.fibers import in_fiber
from app.execution.submission import Submission, as_sent, opened_args
from app.journal.schema.rows import Wake
from app.messaging.producer import BATCH, AgentsCelery, passed_on
from celery_agents import names
from celery_agents.light import light
from celery_agents.noted import note, noting
from celery_agents.sealing import CANVAS, MARK, Seals, clear_of, opened_payload
from celery_agents.wire.ids import new_id
from celery_agents.wire.messages import Composed, compose, tell_sent
from celery_agents.wire.shown import shown_args, shown_kwargs

log = logging.getLogger(__name__)

#: More messages at once let those of others go first (app/messaging/transport.py, and the pool's
#: loop). So many one worker takes at a time.
FEW = 64


def message_options(wake: Wake, shown: dict[int, str] | None = None) -> dict[str, Any]:
    """Return the options of a row's message, as ``amqp.as_task_v2`` takes them.

    The message carries no work, only its description for people: the row has the payload. The
    members of a step are a group, as they would be in a canvas. ``shown`` keeps what people see of
    options, by their identity: members share theirs, which may be large.
    """
    payload = wake.payload
    options = payload.get("kwargs", {})
    shown = {} if shown is None else shown
    if id(options) not in shown:
        shown[id(options)] = shown_kwargs(options)
    return {
        "task_id": wake.id,
        "root_id": wake.run_id,
        "parent_id": wake.parent_id,
        "group_id": wake.parent_id,
        "argsrepr": shown_args(payload.get("args", ())),
        "kwargsrepr": shown[id(options)],
        "ignore_result": wake.parent_id is not None,
    }


def _seals(app: AgentsCelery) -> Seals | None:
    # Our tasks are shared ones: where they are imported, any app of the process may call them.
    return getattr(app, "seals", None)


def described(app: AgentsCelery, args: Any, kwargs: Mapping[str, Any]) -> dict[str, str]:
    """Say what people see of a message's arguments: of encrypted ones those that are not."""
    if _seals(app) is not None:
        args, kwargs = (), clear_of(kwargs)
    return {"argsrepr": shown_args(args), "kwargsrepr": shown_kwargs(kwargs)}


def sealed_args(app: AgentsCelery, args: Any, kwargs: Any, place: str) -> tuple[Any, Any]:
    """The arguments of a message of a step, as they travel."""
    seals = _seals(app)
    if seals is None or kwargs is None or (not args and MARK in kwargs):
        return args, kwargs
    opened = opened_payload(seals, {"args": args or (), "kwargs": kwargs}, CANVAS, place)
    told = seals.seal_payload(opened, place)
    return told["args"], told["kwargs"]


def publish(app: AgentsCelery, wakes: Iterable[Wake], *, countdown: float | None = None) -> int:
    """Publish a message for each row, in few writes; returns how many went out.

    The first of many are worked on while the others are still being written.
    """
    wakes = list(wakes)
    marks = {names.JOURNALED: 1} | ({names.BULK: 1} if len(wakes) > FEW else {})
    for start in range(0, len(wakes), BATCH):
        try:
            _write(app, wakes[start : start + BATCH], marks, countdown)
        except OperationalError as error:
            # Unknown, not failed: some may have been delivered. Recovery looks at the rows again.
            text = "Messages for %s and %d others may not have been sent"
            others = len(wakes) - start - 1
            note(log, "publish", text, wakes[start].id, others, error=error.__cause__ or error)
            return start
    return len(wakes)


def _write(
    app: AgentsCelery, wakes: Sequence[Wake], marks: dict[str, Any], countdown: float | None
) -> None:
    composed = []
    shown: dict[int, str] = {}
    sealed = _seals(app) is not None
    for wake in wakes:
        about = message_options(wake, shown) | as_sent(wake.envelope or {})
        if sealed:
            about |= described(app, (), wake.payload.get("kwargs", {}))
        envelope = compose(
            app,
            wake.task,
            queue=wake.queue,
            priority=wake.priority,
            marks=marks | {names.TENANT: wake.tenant} if wake.tenant else marks,
            countdown=countdown,
            **about,
        )
        composed.append((wake.queue, envelope))
    app.post(composed)
    _tell_sent(app, composed)


#: Celery's event of a message that was sent, and the headers that stand in it.
SENT = "task-sent"
_OF_SENT = ("root_id", "parent_id", "retries", "eta", "expires")


def _tell_sent(app: AgentsCelery, composed: Sequence[Composed]) -> None:
    tell_sent(composed)
    tell_watchers(app, ((queue, envelope["headers"]) for queue, envelope in composed))


def tell_watchers(app: AgentsCelery, sent: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
    """Tell Celery's event ``task-sent`` of messages, by their queues and headers, if it is on."""
    if not app.conf.task_send_sent_event:
        return
    # The producer is given; what cannot be sent is not kept.
    dispatcher = app.events.Dispatcher(enabled=False, buffer_while_offline=False)
    with (
        noting(log, "task_sent", "Watchers are not told of a message", OperationalError),
        app.producer_or_acquire() as producer,
    ):
        for queue, headers in sent:
            about = {name: headers.get(name) for name in _OF_SENT}
            about |= {"uuid": headers["id"], "name": headers["task"]}
            about |= {"args": headers["argsrepr"], "kwargs": headers["kwargsrepr"]}
            dispatcher.publish(SENT, about | sent_to(queue), producer)


def sent_to(queue: str) -> dict[str, str]:
    """Say in ``task-sent`` where to."""
    return {"queue": queue, "exchange": "", "routing_key": queue}


def own_message(app: AgentsCelery, wake: Wake, *, bulk: bool = False) -> Message:
    """The message of a row as Celery has it that has taken it; no broker knows of it.

    ``bulk``: it is one of many, and lets others go first.
    """
    about = message_options(wake) | as_sent(wake.envelope or {})
    if _seals(app) is not None:
        about |= described(app, (), wake.payload.get("kwargs", {}))
    marks = {names.JOURNALED: 1} | ({names.TENANT: wake.tenant} if wake.tenant else {})
    if bulk:
        marks[names.BULK] = 1
    return _as_taken(app, wake.task, queue=wake.queue, priority=wake.priority, marks=marks, **about)


def _as_taken(
    app: AgentsCelery, task: str, *, queue: str, priority: int, marks: dict[str, Any], **about: Any
) -> Message:
    """The same as :func:`compose` makes, as whoever takes it has it."""
    headers, properties, body, _ = app.amqp.as_task_v2(name=task, **about)
    message = Message(
        body=b"",
        content_type="application/json",
        content_encoding="utf-8",
        delivery_info={"exchange": "", "routing_key": queue, "priority": priority},
        properties={**properties, "priority": priority},
        headers={**headers, **marks},
    )
    message._decoded_cache = [*body]  # noqa: SLF001 - it is not read: there is no text of it
    return message


@light(frozen=True, slots=True)
class NextRow:
    """The row that a step has before its message is sent."""

    #: Takes the message: its row is claimed by this worker, and nobody else needs it.
    takes: Callable[[Message], object] | None = None


#: What may be said of a message that :func:`follow_on` sends; all else is Celery's business.
_PLAIN = frozenset(
    {
        *("task_id", "root_id", "parent_id", "reply_to", "chain", "link", "link_error"),
        *("queue", "priority", "headers", "argsrepr", "kwargsrepr", "ignore_result"),
    }
)


def follow_on(
    task: Task,
    args: Any,
    kwargs: Any,
    options: dict[str, Any],
    record: Callable[[Submission], NextRow | None],
) -> AsyncResult | None:
    """Send a step that follows one: a chain's next link. None: it has to go Celery's own way.

    What ``Task.apply_async`` and ``Celery.send_task`` do for one whose queue is named, at a third
    of the cost, which was a seventh of what a link takes. ``record`` writes its row first, if it
    can: then the message only wakes it, and the chain survives a Redis that does not. It need not
    go by way of Redis where this worker has claimed that row for itself.
    """
    app = task.app
    parent = app.current_worker_task
    if parent is None or not _is_plain(task, options):
        return None
    about = as_sent({"priority": task.priority, **options})
    about["task_id"] = about.get("task_id") or new_id()
    queue, marks = about.pop("queue"), passed_on(parent, about.pop("headers", None) or {})
    told = opened_args(app, about["task_id"], args or (), kwargs or {})
    recorded = record(Submission.to_send(task.name, *told, queue, about, marks=marks))
    if recorded is None and not in_fiber():
        return None
    if recorded is not None:
        marks = {k: v for k, v in marks.items() if k != names.INTAKE} | {names.JOURNALED: 1}
        args, kwargs = None, None
    else:
        args, kwargs = sealed_args(app, args, kwargs, about["task_id"])
    about["root_id"] = about.get("root_id") or parent.request.root_id or parent.request.id
    about["parent_id"] = about.get("parent_id") or parent.request.id
    about |= {"queue": queue, "marks": marks, "args": args, "kwargs": kwargs}
    if recorded is not None and recorded.takes is not None:
        recorded.takes(_as_taken(app, task.name, **about))
    else:
        _send_next(app, task.name, about, recorded=recorded is not None)
    result = task.AsyncResult(about["task_id"])
    parent.add_trail(result)
    return result


def _send_next(app: AgentsCelery, task: str, about: dict[str, Any], *, recorded: bool) -> None:
    composed = [(about["queue"], compose(app, task, **about))]
    try:
        app.post(composed)
    except OperationalError as error:
        if not recorded:
            raise
        text = "The message for %s may not have been sent"
        note(log, "publish_next", text, about["task_id"], error=error)
    else:
        _tell_sent(app, composed)


def _is_plain(task: Task, options: dict[str, Any]) -> bool:
    own = task._get_exec_options().items()  # noqa: SLF001 - what the task itself asks for
    asked = options.keys() | {option for option, value in own if value is not None}
    named = isinstance(options.get("queue"), str)
    return named and asked - {"serializer"} <= _PLAIN
