"""A task's message before it is sent, and many in one write.

Celery's own way makes a signature of each, then goes through ``apply_async``, ``send_task`` and
kombu's producer, which cost several times what is sent. What its users rely on is here too: the
protocol's headers, the parent of what is asked for within a task, and the signals
``before_task_publish`` and ``after_task_publish``, to which tracing hooks on.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from json import JSONEncoder
from operator import attrgetter
from typing import Any

from celery import Celery, Signature, signals
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from celery_agents import names
from celery_agents.errors import InvalidPayloadError, PayloadTooLargeError
from celery_agents.sealing import CANVAS, Seals, clear_of
from celery_agents.transport import Envelope, kombu_json
from celery_agents.values import problem
from celery_agents.wire.ids import new_id
from celery_agents.wire.shown import shown_args, shown_kwargs
from celery_agents.wire.signature import StepSignature

#: A message as kombu's channel puts it, with its queue.
Composed = tuple[str, Envelope]
#: Celery's default holds for tasks it knows; unset would mean first.
PRIORITY = 5

#: The option that says how a run is watched.
_WATCHED = "stream"
#: JSON as it is sent. One encoder: making one for each message costs more than its work.
to_json = JSONEncoder(separators=(",", ":"), allow_nan=False).encode
_to_sorted_json = JSONEncoder(separators=(",", ":"), sort_keys=True).encode


def fingerprint(
    task: str, args: Sequence[Any], kwargs: dict[str, Any], seals: Seals | None = None
) -> str:
    """Return a hash that tells payloads apart, in whichever order their objects have their keys.

    The same work under the same id is one run, however it is watched. Where payloads are encrypted,
    nobody without the key can compare a guess with it.
    """
    told = f"{task}[{_to_sorted_json(args)},{_to_sorted_json(_work(kwargs))}]"
    return _fingerprint(told) if seals is None else seals.mark(told)


def _work(kwargs: dict[str, Any]) -> dict[str, Any]:
    """The options that say what is done, without :data:`_WATCHED`."""
    return {n: v for n, v in kwargs.items() if n != _WATCHED} if _WATCHED in kwargs else kwargs


def _fingerprint(told: str) -> str:
    """Two checksums, since each message has one: to find a mistake, not an attack."""
    raw = told.encode()
    return f"{zlib.crc32(raw) << 32 | zlib.adler32(raw):016x}"


@dataclass(slots=True, kw_only=True)
class Message:
    """A message to be sent; :meth:`signature` says the same to Celery's canvas."""

    id: str
    task: str
    args: list[Any]
    kwargs: dict[str, Any]
    payload: str  # [args, kwargs] as JSON
    queue: str
    argsrepr: str
    kwargsrepr: str
    fingerprint: str
    #: Of a message under an id that somebody chose: what its result may say of the payload. It was
    #: sorted to tell that, which others save.
    known_as: frozenset[str] | None = None
    priority: int = PRIORITY
    tenant: str = ""
    actor: str = ""
    role: str = ""  # the actor's
    trace: str | None = None  # the caller's span
    recorded: bool = True  # in the intake, as it is enqueued
    journaled: bool = False  # its row has what is to be done: the message only wakes it
    seals: Seals | None = None  # encrypt what it carries

    def signature(self, app: Celery) -> Signature:
        """The same for ``chain``, ``group`` and ``chord``, without an id of its own."""
        options = {
            "queue": self.queue,
            "priority": self.priority,
            "headers": self._headers,
            "argsrepr": self.argsrepr,
            "kwargsrepr": self.kwargsrepr,
        }
        args, kwargs = self._sealed(CANVAS)
        return StepSignature(self.task, args, {**kwargs}, options, app=app)  # others share them

    def _carried(self) -> tuple[list[Any], dict[str, Any], str | None]:
        """The arguments that it has, and its body where that is known as JSON."""
        if self.journaled:
            return [], {}, self.body
        if self.seals is not None:
            return *self._sealed(self.id), None
        return self.args, self.kwargs, self.body

    @property
    def body(self) -> str:
        """Its body as JSON, of one that is not sealed. None follows it; a row has the arguments."""
        return "[[],{},{}]" if self.journaled else f"{self.payload[:-1]},{{}}]"

    def _sealed(self, place: str) -> tuple[list[Any], dict[str, Any]]:
        """Return what it carries, as it travels."""
        if self.seals is None:
            return self.args, self.kwargs
        told = self.seals.seal_payload({"args": self.args, "kwargs": self.kwargs}, place)
        return told["args"], told["kwargs"]

    @property
    def _headers(self) -> dict[str, Any]:
        marks: dict[str, Any] = {names.INTAKE: 1} if self.recorded else {}
        if self.journaled:
            marks = {names.JOURNALED: 1}
        if self.actor:
            marks[names.ACTOR] = self.actor
        if self.role:
            marks[names.ROLE] = self.role
        if self.trace is not None:
            marks[names.TRACE] = self.trace
        return marks | {names.TENANT: self.tenant} if self.tenant else marks

    def envelope(self, app: Celery, parent: Any) -> Envelope:
        """The message as kombu's channel puts it."""
        args, kwargs, text = self._carried()
        return compose(
            app,
            self.task,
            queue=self.queue,
            priority=self.priority,
            marks={**self._headers, names.PAYLOAD: self.fingerprint},
            text=text,
            task_id=self.id,
            args=args,
            kwargs=kwargs,
            argsrepr=self.argsrepr,
            kwargsrepr=self.kwargsrepr,
            root_id=parent and (parent.root_id or parent.id),
            parent_id=parent and parent.id,
        )


def compose(
    app: Celery,
    task: str,
    *,
    queue: str,
    priority: int,
    marks: dict[str, Any],
    text: str | None = None,
    **about: Any,
) -> Envelope:
    """A task's message as kombu's channel puts it, by version 2 of Celery's protocol.

    ``marks`` are headers of ours, ``text`` is the body as JSON, when it is known, and ``about`` is
    the rest, as ``app.amqp.as_task_v2`` takes it.
    """
    headers, properties, body, _ = app.amqp.as_task_v2(name=task, **about)
    headers.update(marks)
    properties["priority"] = priority
    if signals.before_task_publish.receivers:
        signals.before_task_publish.send(
            sender=task,
            body=body,
            exchange="",
            routing_key=queue,
            declare=[],
            headers=headers,
            properties=properties,
            retry_policy={},
        )
        text = None
    return {
        "body": text or kombu_json(body),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {k: v for k, v in headers.items() if v is not None},
        "properties": {k: v for k, v in properties.items() if v != ""},
    }


#: What a message has in common with others of its draft; of sealed ones the bodies differ in all.
_COMMON = attrgetter(
    *("task", "queue", "priority", "kwargsrepr", "tenant", "actor", "role", "trace"),
    *("recorded", "journaled", "seals"),
)


class Composer:
    """Composes messages of one sender; the common part of those of one draft is made once.

    Nothing is kept where hooks may change it, and of what is asked within a task.
    """

    def __init__(self, app: Celery, parent: Any) -> None:
        self._app = app
        self._parent = parent
        self._common: tuple[Any, ...] | None = None

    def envelope(self, message: Message) -> Envelope:
        """The message as kombu's channel puts it."""
        hooked = signals.before_task_publish.receivers
        if hooked or self._parent is not None or message.seals is not None:
            return message.envelope(self._app, self._parent)
        if (common := _COMMON(message)) != self._common:
            made = message.envelope(self._app, None)
            self._common, self._made = common, made
            self._headers, self._properties = {**made["headers"]}, {**made["properties"]}
            return made
        own = {"id": message.id, "root_id": message.id, "argsrepr": message.argsrepr}
        return {
            **self._made,
            "body": message.body,
            "headers": {**self._headers, **own, names.PAYLOAD: message.fingerprint},
            "properties": {**self._properties, "correlation_id": message.id},
        }


def tell_sent(messages: Iterable[Composed]) -> None:
    """Say to Celery's signal that composed messages were sent."""
    if not signals.after_task_publish.receivers:
        return
    for queue, envelope in messages:
        signals.after_task_publish.send(
            sender=envelope["headers"]["task"],
            body=json.loads(envelope["body"]),
            headers=envelope["headers"],
            exchange="",
            routing_key=queue,
        )


class Draft:
    """The common part of many messages, worked out once.

    Args:
        kwargs: of the task, JSON values.
        limit_bytes: above it a payload is refused.
        about: other fields of :class:`Message`.

    Raises:
        InvalidPayloadError: the options cannot be written.
    """

    def __init__(
        self, task: str, kwargs: dict[str, Any], *, queue: str, limit_bytes: int, **about: Any
    ) -> None:
        self._task = task
        self._seals: Seals | None = about.get("seals")
        self._about: dict[str, Any] = {
            "task": task,
            "kwargs": kwargs,
            "queue": queue,
            "kwargsrepr": shown_kwargs(kwargs if self._seals is None else clear_of(kwargs)),
            **about,
        }
        self._kwargs = to_json(kwargs)
        if '"__type__"' in self._kwargs and (
            wrong := problem(kwargs)
        ):  # names of somebody's choice
            raise InvalidPayloadError(f"The options: {wrong}.")
        self._work = self._kwargs if _WATCHED not in kwargs else to_json(_work(kwargs))
        self._limit_bytes = limit_bytes

    @property
    def size(self) -> int:
        """Characters of the options."""
        return len(self._kwargs)

    def message(self, args: list[Any], id: str | None = None) -> Message:  # noqa: A002 - Celery's word
        """The message with these arguments, under a new id unless one is given.

        Raises:
            PayloadTooLargeError
        """
        told = to_json(args)
        payload = f"[{told},{self._kwargs}]"
        if len(payload) > self._limit_bytes:
            raise PayloadTooLargeError(
                f"The payload has {len(payload):,} bytes, the limit is {self._limit_bytes:,}. "
                "Keep the big value elsewhere and pass its id or URL."
            )
        asked, known_as = self._known_as(args, told, chosen=id is not None)
        return Message(
            id=id or new_id(),
            args=args,
            payload=payload,
            argsrepr=shown_args(args if self._seals is None else ()),
            fingerprint=asked,
            known_as=known_as,
            **self._about,
        )

    def _known_as(
        self, args: list[Any], told: str, *, chosen: bool
    ) -> tuple[str, frozenset[str] | None]:
        """The fingerprint of a message and, under an id of somebody's choice, all that it may have.

        A key that came to others meanwhile changes nothing of what is the same call.
        """
        as_written = f"{self._task}[{told},{self._work}]"
        if not chosen:
            seals = self._seals
            return _fingerprint(as_written) if seals is None else seals.mark(as_written), None
        work = _work(self._about["kwargs"])
        marks = self._marks(f"{self._task}[{_to_sorted_json(args)},{_to_sorted_json(work)}]")
        return marks[0], frozenset({*self._marks(as_written), *marks})

    def _marks(self, told: str) -> list[str]:
        return [_fingerprint(told)] if self._seals is None else self._seals.marks(told)


def post(producer: Any, messages: Sequence[Composed]) -> None:
    """Send composed messages, given with their queues, in one write where the transport can.

    Raises:
        kombu.exceptions.OperationalError: some may have been delivered all the same.
    """
    put_all = getattr(producer.channel, "put_all", None)
    try:
        if put_all is not None:
            put_all(messages)
            return
        for queue, envelope in messages:  # another transport: memory:// in an app's tests
            producer.publish(
                envelope["body"],
                routing_key=queue,
                headers=envelope["headers"],
                content_type=envelope["content-type"],
                content_encoding=envelope["content-encoding"],
                **envelope["properties"],
            )
    except (RedisError, OSError) as error:
        raise OperationalError(str(error)) from error
