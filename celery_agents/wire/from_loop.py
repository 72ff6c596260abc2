"""Sending from an event loop, without a thread: the same messages, by redis-py's asyncio client.

Connections belong to the loop on which they were made, so each loop has its own. What is written
is what the transport writes (:func:`celery_agents.transport.commands`).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from itertools import count
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

from celery import Celery
from kombu.transport.redis import Channel
from kombu.utils.uuid import uuid
from redis.backoff import ExponentialBackoff

from celery_agents import names
from celery_agents.address import RedisAddress
from celery_agents.transport import Command, Envelope, commands, headers_of, label
from celery_agents.wire.messages import Composed, Message
from celery_agents.wire.sending import Sender

#: As the transport tries again: an error within about two seconds.
_RETRIES, _FIRST_S, _LONGEST_S = 3, 0.1, 1.0


class LoopSender:
    """Sends messages to one Redis from any event loop. Nothing is opened before its first use."""

    def __init__(self, app: Celery, address: RedisAddress, *, timeout_s: float) -> None:
        self._app = app
        self._address = address
        self._timeout_s = timeout_s
        self._clients: WeakKeyDictionary[asyncio.AbstractEventLoop, Any] = WeakKeyDictionary()
        self._closing: set[asyncio.Task[None]] = set()
        self._sent_by, self._sent = uuid(), count(1)
        _SENDERS.add(self)

    @property
    def serves(self) -> bool:
        """True when it can send: not where sentinels name the server."""
        return self._address.master is None

    async def send(self, messages: Iterable[Message]) -> None:
        """Send messages in few writes, each of which arrives whole or not at all."""
        sender = Sender(self._app, None)
        for message in messages:
            sender.gather(message)
            if sender.full:
                await self._flush(sender)
        await self._flush(sender)

    async def known(self, message_id: str, result_key: Any) -> tuple[Any, Any]:
        """The headers of a message that was not acknowledged yet, and what is stored of it."""
        async with self._client().pipeline(transaction=False) as pipe:
            pipe.hget(names.INTAKE_RECORDS, message_id)
            pipe.get(result_key)
            record, stored = await pipe.execute()
        return headers_of(record), stored

    async def close(self) -> None:
        """Close the connections of the running loop."""
        client = self._clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.aclose()

    def close_all(self) -> None:
        """Close the connections of every loop, from any thread: those of others a little later."""
        for loop in self._loops():
            if (client := self._clients.pop(loop, None)) is None:
                continue
            try:
                loop.call_soon_threadsafe(self._close_on, loop, client)
                if not loop.is_running():  # it may never be
                    _abandon(client, at_once=False)
            except RuntimeError:  # the loop is closed
                _abandon(client, at_once=True)

    def forget_connections(self) -> None:
        """Leave the connections to the process that this one was forked from.

        They stay as they are: to close one, even by the garbage collector, would take it from the
        selector that both processes have, and the other one's loop would hear nothing more.
        """
        _LEFT.extend([*self._clients.values(), *self._closing])
        self._clients, self._closing = WeakKeyDictionary(), set()

    def _close_on(self, loop: asyncio.AbstractEventLoop, client: Any) -> None:
        closing = loop.create_task(client.aclose())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    def _loops(self) -> list[asyncio.AbstractEventLoop]:
        return [loop for ref in self._clients.keyrefs() if (loop := ref()) is not None]

    async def _flush(self, sender: Sender) -> None:
        if composed := sender.take():
            await self._put_all(composed)
            sender.sent(composed)

    async def _put_all(self, messages: list[Composed]) -> None:
        label(messages, self._next_tag)
        to_do: list[Command] = commands(messages, _key)
        async with self._client().pipeline(transaction=True) as pipe:
            for name, *args in to_do:
                getattr(pipe, name)(*args)
            await pipe.execute()

    def _next_tag(self) -> str:
        return f"{self._sent_by}.{os.getpid()}.{next(self._sent)}"

    def _client(self) -> Any:
        loop = asyncio.get_running_loop()
        if (client := self._clients.get(loop)) is None:
            from redis.asyncio.retry import Retry  # with the rest of it, on first use

            for other in self._loops():  # each `asyncio.run` has another one
                if other.is_closed() and (left := self._clients.pop(other, None)) is not None:
                    _abandon(left, at_once=True)
            client = self._clients[loop] = self._address.loop_client(
                socket_timeout=self._timeout_s,
                socket_connect_timeout=min(2.0, self._timeout_s),
                socket_keepalive=True,
                retry=Retry(ExponentialBackoff(_LONGEST_S, _FIRST_S), _RETRIES),
            )
        return client


_SENDERS: WeakSet[LoopSender] = WeakSet()
#: Of the process that this one was forked from.
_LEFT: list[Any] = []


def _forget_all() -> None:
    for sender in list(_SENDERS):
        sender.forget_connections()


os.register_at_fork(after_in_child=_forget_all)


def _key(queue: str, message: Envelope) -> str:
    """The list of a queue and a priority, as kombu names it."""
    priority = message["properties"]["priority"]
    return f"{queue}{Channel.sep}{priority}" if priority else queue


def _abandon(client: Any, *, at_once: bool) -> None:
    """Close connections without their loop, which does not run; ``at_once`` where it is closed."""
    pool = client.connection_pool
    for connection in [*pool._available_connections, *pool._in_use_connections]:  # noqa: SLF001
        writer, connection._writer, connection._reader = connection._writer, None, None  # noqa: SLF001
        if writer is None:
            continue
        if at_once:
            # As the transport's finalizer, which waits for the garbage collector. A transport of
            # uvloop shows no socket of its own, and is closed with its loop.
            held = getattr(writer.transport.get_extra_info("socket"), "_sock", None)
            if held is not None:
                held.close()
        else:
            writer.transport.abort()
