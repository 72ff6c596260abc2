"""The base of a client's verbs and groups: the Celery app on its Redis, and sending over it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from celery import Signature
from kombu.exceptions import BatchPublishError, OperationalError
from redis.exceptions import RedisError

from celery_agents import names
from celery_agents.address import RedisAddress
from celery_agents.errors import IdInUseError
from celery_agents.redis_url import LOCAL, REDIS_URL, read_redis_url
from celery_agents.sealing import read_keys, seals_of
from celery_agents.transport import transport_options
from celery_agents.wire.from_loop import LoopSender
from celery_agents.wire.messages import Draft, Message
from celery_agents.wire.pools import ClientCelery
from celery_agents.wire.results import ResultBackend, backend_url, results_address
from celery_agents.wire.sending import send


class Connection:
    """One Redis, as :class:`Client` describes it. It is opened on first use."""

    def __init__(
        self,
        redis_url: str | None,
        *,
        queue: str,
        result_url: str | None,
        visibility_timeout_s: int,
        payload_limit_bytes: int,
        ballots_max: int,
        redis_timeout_s: float,
        fernet_keys: Sequence[str] | None = None,
    ) -> None:
        if redis_url is None:
            self.address = read_redis_url(os.environ.get(REDIS_URL) or LOCAL)
        else:
            self.address = read_redis_url(redis_url, "redis_url (REDIS_URL)")
        self.payload_limit_bytes = payload_limit_bytes
        self.ballots_max = ballots_max
        self.queue = queue
        results = results_address(result_url, self.address)
        self.celery = _app(self.address, results)
        keys = read_keys(os.environ) if fernet_keys is None else fernet_keys
        self.seals = self.celery.seals = seals_of(keys)
        self.celery.config_from_object(
            {
                "broker_url": self.address.broker_url,
                "broker_transport": "celery_agents.transport:Transport",
                "broker_transport_options": transport_options(
                    visibility_timeout_s=visibility_timeout_s, redis_timeout_s=redis_timeout_s
                ),
                "broker_connection_timeout": 2.0,
                "result_backend": result_url if results is None else backend_url(results),
                "redis_socket_timeout": redis_timeout_s,
                "redis_socket_connect_timeout": 2.0,
                "task_serializer": "json",
                "result_serializer": "json",
                "accept_content": ["json"],
                "task_default_queue": queue,
                "task_default_priority": 5,
                "task_publish_retry": False,  # the transport tries again by itself, bounded
                "result_backend_thread_safe": True,
            }
        )
        self._from_loop = LoopSender(self.celery, self.address, timeout_s=redis_timeout_s)

    def draft(
        self, task: str, kwargs: dict[str, Any], *, queue: str | None = None, **about: Any
    ) -> Draft:
        """Make a draft of messages of one of the agents' tasks; ``about`` as for :class:`Draft`."""
        limit = self.payload_limit_bytes
        about = {"seals": self.seals, **about}
        return Draft(task, kwargs, queue=queue or self.queue, limit_bytes=limit, **about)

    def publish(self, messages: Iterable[Message | Signature]) -> None:
        """See :meth:`Client.publish`."""
        with self._producer() as producer:
            send(self.celery, producer, messages)

    async def publish_async(self, messages: Sequence[Message]) -> None:
        """The same on the running event loop; in a thread where sentinels name the Redis."""
        if not self._from_loop.serves:
            await asyncio.to_thread(self.publish, messages)
            return
        with self._errors():
            await self._from_loop.send(messages)

    def refuse_other(self, message: Message) -> None:
        """Refuse a message whose chosen id names another call already.

        Redis knows what has not been acknowledged, and what has ended; of the rest a worker finds
        the row, and the run's ``get`` tells.

        Raises:
            IdInUseError, BrokerUnavailableError
        """
        _refuse_other(message, *self.in_redis(message.id))

    def in_redis(self, message_id: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """The headers of a message that is not acknowledged, and what is stored of its end."""
        with self._producer() as producer:
            recorded = getattr(producer.channel, "recorded", lambda _: None)(message_id)
            backend = self.celery.backend
            stored = backend.known(message_id) if isinstance(backend, ResultBackend) else {}
        return recorded or {}, stored

    async def refuse_other_async(self, message: Message) -> None:
        """The same on the running event loop, where broker and results are in one Redis."""
        backend = self.celery.backend
        together = self.celery.results_address == self.address
        if not (self._from_loop.serves and together and isinstance(backend, ResultBackend)):
            await asyncio.to_thread(self.refuse_other, message)
            return
        with self._errors():
            key = backend.get_key_for_task(message.id)
            recorded, stored = await self._from_loop.known(message.id, key)
        _refuse_other(message, recorded, backend.decode_result(stored) if stored else {})

    def close(self) -> None:
        """Close the connections of threads, and of all event loops."""
        self.celery.close()
        self._from_loop.close_all()

    async def aclose(self) -> None:
        """Close those of the running event loop."""
        await self._from_loop.close()

    @contextmanager
    def _producer(self) -> Iterator[Any]:
        with self._errors(), self.celery.producer_or_acquire() as producer:
            yield producer

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (BatchPublishError, OperationalError, RedisError, OSError) as error:
            raise self.address.error(
                error,
                did="did not take the message",
                note=" It may have been delivered all the same; sending it again under the same id "
                "is safe.",
            ) from error


def _app(broker: RedisAddress, results: RedisAddress | None) -> ClientCelery:
    app = ClientCelery("celery-agents-client", set_as_current=False)
    app.broker_address, app.results_address = broker, results
    return app


def _refuse_other(
    message: Message, recorded: Mapping[str, Any] | None, stored: Mapping[str, Any]
) -> None:
    asked = {found.get(names.PAYLOAD) for found in (recorded or {}, stored)}
    if asked - {None} - (message.known_as or set()):
        raise IdInUseError.of(message.id)
