"""What fibers publish: gathered, and sent by a thread in one write.

Celery publishes wherever it goes on: links, chains, retries, groups. In a fiber such a round trip
would hold up the whole loop, and a producer of the pool must not be held by one that waits. So
there a producer only collects; what it has is sent together when its ``with`` ends.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self

from celery import Celery
from kombu.exceptions import BatchPublishError, OperationalError
from tenacity import (
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_random_exponential,
)

from app.batches import Batches
from app.fibers import in_fiber, wait
from app.reply import Reply

#: Messages in one write. A write of 500 is some 500 kB.
BATCH = 500
#: A broker that is away for a moment costs no message; each try has the transport's own timeouts.
ATTEMPTS = 3

Message = tuple[Any, dict[str, Any]]  # the arguments of kombu's Producer.publish


class Outbox:
    """Sends the messages of all fibers of a process."""

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._batches: Batches[list[Message]] = Batches("agents-outbox", self._send, BATCH)

    def submit(self, messages: list[Message]) -> Reply[None]:
        """Have messages sent, in their order."""
        return self._batches.submit(messages)

    def close(self) -> None:
        """Send what is queued, then stop."""
        self._batches.close()

    def _send(self, items: Sequence[list[Message]]) -> list[Exception | None]:
        retrying = Retrying(
            stop=stop_after_attempt(ATTEMPTS),
            wait=wait_random_exponential(multiplier=0.1, max=1.0),
            retry=retry_if_exception_type(OperationalError),
            reraise=True,
        )
        try:
            retrying(self._write, items)
        except OperationalError:
            raise
        except Exception as error:  # noqa: BLE001 - one that cannot be encoded spoils no other
            return [error] if len(items) == 1 else [e for i in items for e in self._send([i])]
        return [None] * len(items)

    def _write(self, items: Sequence[list[Message]]) -> None:
        try:
            with self._app.producer_or_acquire() as producer, producer.batch(max_size=BATCH):
                for messages in items:
                    for body, options in messages:
                        producer.publish(body, **options)
        except BatchPublishError as error:
            # As any failed publish: it is not known what was delivered.
            raise OperationalError(str(error.__cause__ or error)) from error


class _Connection:
    """The little of kombu's connection that Celery's publishing asks a producer for."""

    recoverable_connection_errors = (OperationalError,)

    @contextmanager
    def _reraise_as_library_errors(self) -> Iterator[None]:
        yield  # the outbox raises them so


class Collector:
    """What a fiber gets for a producer: it collects, and has it all sent when its block ends."""

    connection = _Connection()

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._messages: list[Message] = []

    def publish(self, body: Any, **options: Any) -> None:
        """As kombu's."""
        own: dict[str, Any] = {"retry": False}  # the outbox tries again
        if not options.get("exchange"):
            own["declare"] = []  # by its name alone a queue is reached through the default one
        self._messages.append((body, {**options, **own}))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, failed: type[BaseException] | None, *_: object) -> None:
        if failed is None and self._messages:
            wait(self._outbox.submit(self._messages))


class AgentsCelery(Celery):
    """Celery, whose producers in a fiber are collectors."""

    _outbox: tuple[int, Outbox] | None = None

    @property
    def outbox(self) -> Outbox:
        """This process's; a forked child makes its own."""
        if self._outbox is None or self._outbox[0] != os.getpid():
            self._outbox = os.getpid(), Outbox(self)
        return self._outbox[1]

    def producer_or_acquire(self, producer: Any = None) -> Any:
        """A producer, as a context manager."""
        if producer is None and in_fiber():
            return Collector(self.outbox)
        return super().producer_or_acquire(producer)
