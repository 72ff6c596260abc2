"""Messages that fibers publish: gathered, and sent by a thread in one write.

Celery publishes wherever it goes on: links, chains, retries, groups. In a fiber such a round trip
would hold up the whole loop, and a producer of the pool must not be held by one that waits. So
there a producer only collects; what it has is sent together when its ``with`` ends.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Self

from kombu.exceptions import BatchPublishError, OperationalError
from redis import Redis
from tenacity import (
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_random_exponential,
)

from app.concurrency.batcher import Batches
from app.concurrency.fibers import in_fiber, wait
from app.concurrency.future import Future
from app.concurrency.per_process import PerProcess
from app.layout import qualified
from app.messaging.redis import check_broker, connect_redis
from app.settings import Settings
from celery_agents import names
from celery_agents.given import Addressed, GivenCelery
from celery_agents.wire.messages import Composed, post

#: Messages in one write. A write of 500 is some 500 kB.
BATCH = 500
#: A broker that is away for a moment costs no message; each try has the transport's own timeouts.
ATTEMPTS = 3


@dataclass(slots=True)
class Parcel:
    """The messages that one caller wants sent together, in this order."""

    #: Composed messages with their queues: one command for all of them.
    composed: Sequence[Composed] = ()
    #: Arguments of kombu's Producer.publish.
    published: list[tuple[Any, dict[str, Any]]] = field(default_factory=list)


_RETRYING = Retrying(
    stop=stop_after_attempt(ATTEMPTS),
    wait=wait_random_exponential(multiplier=0.1, max=1.0),
    retry=retry_if_exception_type(OperationalError),
    reraise=True,
)


class Outgoing:
    """Sends the messages of all fibers of a process."""

    def __init__(self, app: AgentsCelery) -> None:
        self._app = app
        self._batches: Batches[Parcel] = Batches("agents-outgoing", self._send, BATCH)

    def submit(self, parcel: Parcel) -> Future[None]:
        """Have a parcel sent."""
        return self._batches.submit(parcel)

    def _send(self, parcels: Sequence[Parcel]) -> list[Exception | None]:
        try:
            _RETRYING(self._write, parcels)
        except OperationalError:
            raise
        except Exception as error:  # noqa: BLE001 - one that cannot be encoded spoils no other
            return [error] if len(parcels) == 1 else [e for p in parcels for e in self._send([p])]
        return [None] * len(parcels)

    def _write(self, parcels: Sequence[Parcel]) -> None:
        composed = [message for parcel in parcels for message in parcel.composed]
        published = [message for parcel in parcels for message in parcel.published]
        try:
            with self._app.pooled_producer() as producer:
                if composed:
                    post(producer, composed)
                if published:
                    with producer.batch(max_size=BATCH):
                        for body, options in published:
                            producer.publish(body, **options)
        except BatchPublishError as error:
            # As any failed publish: it is not known what was delivered.
            raise OperationalError(str(error.__cause__ or error)) from error


class _Connection:
    """The little of kombu's connection that Celery's publishing asks a producer for."""

    recoverable_connection_errors = (OperationalError,)

    @contextmanager
    def _reraise_as_library_errors(self) -> Iterator[None]:
        yield  # the outgoing raises them so


class Collector:
    """A fiber's producer: it collects messages and has them all sent when its block ends."""

    connection = _Connection()

    def __init__(self, outgoing: Outgoing) -> None:
        self._outgoing = outgoing
        self._parcel = Parcel()

    def publish(self, body: Any, **options: Any) -> None:
        """As kombu's."""
        own: dict[str, Any] = {"retry": False}  # the outgoing tries again
        if not options.get("exchange"):
            own["declare"] = []  # by its name alone a queue is reached through the default one
        self._parcel.published.append((body, {**options, **own}))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, failed: type[BaseException] | None, *_: object) -> None:
        if failed is None and self._parcel.published:
            wait(self._outgoing.submit(self._parcel))


def passed_on(task: Any, headers: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the headers of a message that a task sends: what it begins is trusted no more."""
    told = dict(headers or {})
    if task is not None and task.request.get(names.UNTRUSTED):
        told[names.UNTRUSTED] = 1
    return told


class Serving(Addressed):
    """An app with what the service needs of it. Its producers in a fiber are collectors."""

    task_cls = qualified("app.execution.request:ShownTask")
    agents_settings: Settings
    agents_cli: str
    agents_runtime: PerProcess[Any]  # app/execution/runtime.py makes it
    _outgoing: PerProcess[Outgoing]

    def hold(self) -> None:
        """Make the places of what each process has."""
        self._outgoing = PerProcess()
        self.agents_runtime = PerProcess()

    @property
    def outgoing(self) -> Outgoing:
        """This process's."""
        return self._outgoing.value or self._outgoing.get(lambda: Outgoing(self))

    def send_task(self, name: str, *args: Any, **options: Any) -> Any:
        """As Celery's; a message that a task sends tells what that had read."""
        if headers := passed_on(self.current_worker_task, options.get("headers")):
            options["headers"] = headers
        return super().send_task(name, *args, **options)

    def producer_or_acquire(self, producer: Any = None) -> Any:
        """A producer, as a context manager."""
        if producer is None and in_fiber():
            return Collector(self.outgoing)
        return super().producer_or_acquire(producer)

    def pooled_producer(self) -> Any:
        """One that sends, wherever the caller is."""
        return super().producer_or_acquire()

    def post(self, messages: Sequence[Composed]) -> None:
        """Send composed messages, given with their queues, in one write.

        Raises:
            kombu.exceptions.OperationalError: some may have been delivered all the same.
        """
        if in_fiber():
            wait(self.outgoing.submit(Parcel(messages)))
            return
        with self.pooled_producer() as producer:
            post(producer, messages)

    @functools.cached_property
    def redbeat_redis(self) -> Redis:
        """Beat's client. redbeat looks here before it makes one by its own reading of a URL.

        Raises:
            ConfigurationError: no TLS connection to the broker can be made.
        """
        check_broker(self.agents_settings)
        return connect_redis(self.agents_settings, decode_responses=True)

    @functools.cached_property
    def timezone(self) -> Any:
        """Celery's, which takes a lock whenever it is looked at: for each message, some times."""
        return super().timezone


class AgentsCelery(Serving, GivenCelery):
    """The service's own app."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.hold()
