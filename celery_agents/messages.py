"""A task's message before it is sent, and sending many in few writes.

Celery's own way makes a signature of each, then goes through ``apply_async``, ``send_task`` and
kombu's producer, which cost several times what is sent. What its users rely on is here too: the
protocol's headers, the parent of what is asked for within a task, and the signals
``before_task_publish`` and ``after_task_publish``, to which tracing hooks on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from json import JSONEncoder
from typing import Any

from celery import Celery, Signature, signals

from celery_agents import names
from celery_agents.errors import PayloadTooLargeError
from celery_agents.ids import new_id
from celery_agents.shown import shown_args, shown_kwargs
from celery_agents.transport import Channel, Envelope

#: Messages in one write, and the bytes after which it is sent though they are fewer.
BATCH, BATCH_BYTES = 500, 1024 * 1024
#: Celery's default holds for tasks it knows; unset would mean first.
PRIORITY = 5

#: JSON as it is sent. One encoder: making one for each message costs more than its work.
to_json = JSONEncoder(separators=(",", ":")).encode


@dataclass(slots=True, kw_only=True)
class Message:
    """What is to be sent; :meth:`signature` says the same to Celery's canvas."""

    id: str
    task: str
    args: list[Any]
    kwargs: dict[str, Any]
    payload: str  # [args, kwargs] as JSON
    queue: str
    argsrepr: str
    kwargsrepr: str
    priority: int = PRIORITY
    recorded: bool = True  # in the intake, as it is enqueued

    def signature(self, app: Celery) -> Signature:
        """The same for ``chain``, ``group`` and ``chord``, without an id of its own."""
        options = {
            "queue": self.queue,
            "priority": self.priority,
            "headers": self._headers,
            "argsrepr": self.argsrepr,
            "kwargsrepr": self.kwargsrepr,
        }
        return app.signature(self.task, args=self.args, kwargs=self.kwargs, options=options)

    @property
    def _headers(self) -> dict[str, Any]:
        return {names.INTAKE: 1} if self.recorded else {}

    def envelope(self, app: Celery, parent: Any) -> Envelope:
        """The message as kombu's channel puts it, by version 2 of Celery's protocol."""
        headers, properties, body, _ = app.amqp.as_task_v2(
            self.id,
            self.task,
            self.args,
            self.kwargs,
            argsrepr=self.argsrepr,
            kwargsrepr=self.kwargsrepr,
            root_id=parent and (parent.root_id or parent.id),
            parent_id=parent and parent.id,
        )
        headers.update(self._headers)
        properties["priority"] = self.priority
        text = f"{self.payload[:-1]},{{}}]"  # nothing follows
        if signals.before_task_publish.receivers:
            signals.before_task_publish.send(
                sender=self.task,
                body=body,
                exchange="",
                routing_key=self.queue,
                declare=[],
                headers=headers,
                properties=properties,
                retry_policy={},
            )
            text = to_json(body)
        return {
            "body": text,
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": {k: v for k, v in headers.items() if v is not None},
            "properties": {k: v for k, v in properties.items() if v != ""},
        }

    def told(self, envelope: Envelope) -> None:
        """Say that it was sent."""
        signals.after_task_publish.send(
            sender=self.task,
            body=(self.args, self.kwargs, {}),
            headers=envelope["headers"],
            exchange="",
            routing_key=self.queue,
        )


class Draft:
    """What many messages have in common, worked out once.

    Args:
        kwargs: of the task, JSON values.
        limit_bytes: above it a payload is refused.
        about: other fields of :class:`Message`.
    """

    def __init__(
        self, task: str, kwargs: dict[str, Any], *, queue: str, limit_bytes: int, **about: Any
    ) -> None:
        self._about = {
            "task": task,
            "kwargs": kwargs,
            "queue": queue,
            "kwargsrepr": shown_kwargs(kwargs),
            **about,
        }
        self._kwargs = to_json(kwargs)
        self._limit_bytes = limit_bytes

    def message(self, args: list[Any], id: str | None = None) -> Message:  # noqa: A002 - Celery's word
        """The message with these arguments, under a new id unless one is given.

        Raises:
            PayloadTooLargeError
        """
        payload = f"[{to_json(args)},{self._kwargs}]"
        if len(payload) > self._limit_bytes:
            raise PayloadTooLargeError(
                f"The payload has {len(payload):,} bytes, the limit is {self._limit_bytes:,}. "
                "Keep the big value elsewhere and pass its id or URL."
            )
        return Message(
            id=id or new_id(),
            args=args,
            payload=payload,
            argsrepr=shown_args(args),
            **self._about,
        )


def send(app: Celery, producer: Any, messages: Iterable[Message]) -> None:
    """Send messages in writes of up to ``BATCH``, each of them whole or not at all.

    Raises:
        kombu.exceptions.OperationalError: some may have been delivered all the same.
    """
    channel: Channel = producer.channel
    task = app.current_worker_task
    parent = None if task is None else task.request
    for portion in _portions(messages):
        envelopes = [message.envelope(app, parent) for message in portion]
        channel.put_all(
            [(m.queue, envelope) for m, envelope in zip(portion, envelopes, strict=True)]
        )
        if signals.after_task_publish.receivers:
            for message, envelope in zip(portion, envelopes, strict=True):
                message.told(envelope)
        if task is not None:
            for message in portion:
                task.add_trail(app.AsyncResult(message.id))


def _portions(messages: Iterable[Message]) -> Iterator[list[Message]]:
    portion: list[Message] = []
    size = 0
    for message in messages:
        portion.append(message)
        size += len(message.payload)
        if len(portion) >= BATCH or size >= BATCH_BYTES:
            yield portion
            portion, size = [], 0
    if portion:
        yield portion
