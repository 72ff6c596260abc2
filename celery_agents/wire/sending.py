"""Sending many messages and canvases, in few writes to the broker."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from celery import Celery, Signature

from celery_agents import names
from celery_agents.wire.canvas import message_of
from celery_agents.wire.messages import Composed, Composer, Message, post, tell_sent
from celery_agents.wire.routing import name_queues

#: Messages in one write, and the bytes after which it is sent though they are fewer.
BATCH, BATCH_BYTES = 500, 1024 * 1024
#: A canvas takes so many times as long to make: workers need not wait for the last one.
CANVAS = 10


class Sender:
    """Sends through one producer; to be flushed at the end.

    Each write arrives whole or not at all. All that is sent within a task is added to its trail.
    """

    def __init__(self, app: Celery, producer: Any) -> None:
        self._app = app
        self._producer = producer
        self._task = app.current_worker_task
        self._parent = None if self._task is None else self._task.request
        self._composer = Composer(app, self._parent)
        self._composed: list[Composed] = []
        self._count = self._bytes = 0

    def add(self, thing: Message | Signature) -> None:
        """Send it with others, or by Celery when it is more than a chain of steps."""
        if isinstance(thing, Message):
            self.gather(thing)
        else:
            name_queues(thing, self._app)
            if (message := message_of(self._app, thing, self._parent)) is not None:
                self._composed.append(self._told(message))
                self._count += CANVAS
            else:
                thing.apply_async(producer=self._producer)
        if self._count >= BATCH or self._bytes >= BATCH_BYTES:
            self.flush()

    def gather(self, message: Message) -> None:
        """Compose one, to be sent with the others."""
        composed = message.queue, self._composer.envelope(message)
        self._composed.append(composed if self._parent is None else self._told(composed))
        self._count += 1
        self._bytes += len(message.payload)

    def _told(self, composed: Composed) -> Composed:
        """Return it as one of a task that has read what others wrote, where that is so."""
        if self._parent is not None and self._parent.get(names.UNTRUSTED):
            composed[1]["headers"][names.UNTRUSTED] = 1
        return composed

    @property
    def full(self) -> bool:
        """True when as much has gathered as one write takes."""
        return self._count >= BATCH or self._bytes >= BATCH_BYTES

    def flush(self) -> None:
        """Send what has gathered."""
        if composed := self.take():
            post(self._producer, composed)
            self.sent(composed)

    def take(self) -> list[Composed]:
        """Hand over what has gathered, to be sent."""
        composed, self._composed = self._composed, []
        self._count = self._bytes = 0
        return composed

    def sent(self, composed: list[Composed]) -> None:
        """Tell Celery's signals, and the trail of the task that sends, what has gone out."""
        tell_sent(composed)
        if self._task is not None:
            for _, envelope in composed:
                self._task.add_trail(self._app.AsyncResult(envelope["headers"]["id"]))


def send(app: Celery, producer: Any, things: Iterable[Message | Signature]) -> None:
    """Send all of them, the first ones while the others are still being made.

    Raises:
        kombu.exceptions.OperationalError: some may have been delivered all the same.
    """
    sender, rest = Sender(app, producer), iter(things)
    for thing in rest:
        if isinstance(thing, Message):
            sender.add(thing)
            continue
        with producer.batch(max_size=BATCH):  # of what Celery sends
            sender.add(thing)
            for other in rest:
                sender.add(other)
    sender.flush()
