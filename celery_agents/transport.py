"""The client's transport: kombu's Redis transport, which also records what it sends.

A plain ``LPUSH`` can be lost after it was accepted (a worker killed at the wrong moment). A message
that carries the intake header is recorded and enqueued in one Redis transaction; the workers make
it a row of the journal, and clear the record when they have.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from itertools import count
from typing import Any

from kombu.transport.redis import Channel as RedisChannel
from kombu.transport.redis import Transport as RedisTransport
from kombu.utils.json import JSONEncoder
from kombu.utils.uuid import uuid

from celery_agents import names
from celery_agents.address import RedisAddress
from celery_agents.packed import Words, transact

#: A message as kombu's channel puts it: body, headers, properties and what they are written in.
Envelope = dict[str, Any]
#: A method of redis-py, and what it is given.
Command = tuple[Any, ...]

#: Options of the transport that are options of its connections.
_CONNECTION_OPTIONS = (
    "max_connections",
    "socket_timeout",
    "socket_connect_timeout",
    "socket_keepalive",
    "health_check_interval",
    "retry_on_timeout",
    "client_name",
)

#: Ten real priorities, 0 first. Producers and workers of one Redis must agree on them.
PRIORITY_STEPS = tuple(range(10))
#: Of each priority the list for many messages at once, which the service alone sends; see
#: app/messaging/transport.py. Whoever counts or purges a queue by its steps finds these, too.
BULK_STEPS = tuple(range(10, 20))
#: The list that has an element for each message of a tenant, all of which stand in lists of their
#: own: whoever counts a queue by its steps, as kombu and Flower do, counts these messages, too.
COUNTED_STEP = 20
#: The bits of a place in a tenants' ring below its priority (see app/messaging/fairly.py).
RING_BITS = 49


def lists_of(queue: str) -> dict[int, tuple[str, str]]:
    """The lists of a queue by priority, 0 first: that of few messages, and that of many."""
    marked = zip(PRIORITY_STEPS, BULK_STEPS, strict=True)
    return {step: (_list_of(queue, step), _list_of(queue, bulk)) for step, bulk in marked}


def lengths_by_priority(lengths: Sequence[int]) -> dict[int, int]:
    """Messages by priority, of the lengths of :func:`lists_of` in their order."""
    return {step: sum(lengths[2 * step : 2 * step + 2]) for step in PRIORITY_STEPS}


def _list_of(queue: str, step: int) -> str:
    return f"{queue}\x06\x16{step}" if step else queue


def transport_options(*, visibility_timeout_s: int, redis_timeout_s: float) -> dict[str, Any]:
    """Options of the Redis transport that every producer and worker of one Redis shares."""
    return {
        "visibility_timeout": visibility_timeout_s,  # above the longest step, else it runs twice
        "unacked_restore_interval": 10,  # look for unacknowledged messages every 10 s …
        "unacked_restore_throttle": 1,  # … each time, and not each tenth time
        "socket_timeout": redis_timeout_s,  # a frozen Redis must not hang a publish for ever
        "socket_connect_timeout": min(2.0, redis_timeout_s),
        "socket_keepalive": True,
        "max_retries": 3,  # a bounded publish: an error within about two seconds
        "interval_start": 0.1,
        "interval_step": 0.3,
        "interval_max": 1.0,
        "priority_steps": [*PRIORITY_STEPS, *BULK_STEPS, COUNTED_STEP],
        "queue_order_strategy": "round_robin",  # fair between queues
    }


class Channel(RedisChannel):
    """Records messages that ask for it, in the transaction that enqueues them; wakes workers."""

    #: Where the broker is, of an app that knows (celery_agents/given.py); else kombu reads a URL.
    address: RedisAddress | None = None
    from_transport_options = (*RedisChannel.from_transport_options, "address")
    keyprefix_fanout: str
    _kept: Any = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._sent_by, self._sent = uuid(), count(1)
        super().__init__(*args, **kwargs)

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:
        if self.address is None:
            known: dict[str, Any] = super()._connparams(asynchronous)
            return known
        params = self.address.parameters(
            **{name: getattr(self, name) for name in _CONNECTION_OPTIONS}
        )
        if asynchronous:
            params["connection_class"] = _watched(self, params["connection_class"])
        return params

    def _get_pool(self, asynchronous: bool = False) -> Any:
        if self.address is None:
            return super()._get_pool(asynchronous)
        self.keyprefix_fanout = self.keyprefix_fanout.format(db=self.address.database)
        pool = self.address.pool(self._connparams(asynchronous))
        # Where kombu looks for connections to sentinels, to close them with the others.
        kept = "_async_sentinel_manager" if asynchronous else "_sentinel_manager"
        setattr(self, kept, getattr(pool, "sentinel_manager", None))
        return pool

    def _next_delivery_tag(self) -> str:
        """Make a unique tag, without the system call that random numbers take each."""
        return f"{self._sent_by}.{os.getpid()}.{next(self._sent)}"

    def _put(self, queue: str, message: Envelope, **kwargs: Any) -> None:
        headers = message.get("headers") or {}
        if "task" not in headers or queue in self._expires:  # replies to commands, above all
            super()._put(queue, message, **kwargs)
            return
        batch = kwargs.get("_publish_batch")
        if batch is not None:  # recorded before it is enqueued; recovery mends a torn batch
            for command in self._commands([(queue, message)]):
                batch.add(*command)
            return
        self._execute(self._commands([(queue, message)]))

    def _purge(self, queue: str) -> int:
        forget_tenants(self._connected(), queue)  # the count of these is deleted with the others
        purged: int = super()._purge(queue)
        return purged

    def _delete(self, queue: str, *args: Any, **kwargs: Any) -> None:
        forget_tenants(self._connected(), queue)
        super()._delete(queue, *args, **kwargs)

    def put_all(self, messages: Sequence[tuple[str, Envelope]]) -> None:
        """Enqueue messages, given with their queues, in one transaction and one round trip."""
        label(messages, self._next_delivery_tag)
        self._execute(self._commands(messages))

    def _commands(self, messages: Sequence[tuple[str, Envelope]]) -> list[Command]:
        return commands(messages, self._key)

    def _key(self, queue: str, message: Envelope) -> str:
        priority = self._get_message_priority(message, reverse=False)
        key: str = self._q_for_pri(queue, priority)
        return key

    def recorded(self, message_id: str) -> dict[str, Any] | None:
        """The headers of a message that was recorded and is not acknowledged yet; else None."""
        return headers_of(self._connected().hget(names.INTAKE_RECORDS, message_id))

    def _connected(self) -> Any:
        # Making a client costs a third of a publish; its connections are the pool's.
        if self._kept is None or self._kept.connection_pool is not self.pool:
            self._kept = self._create_client()
        return self._kept

    def _execute(self, to_do: list[Command]) -> None:
        transact(self._connected(), [_words(*command) for command in to_do])


def _watched(channel: Channel, connection_class: type[Any]) -> type[Any]:
    """Connections that the event loop is told of when they close, as kombu's own are."""

    class Watched(connection_class):
        def disconnect(self, *args: Any, **kwargs: Any) -> None:
            super().disconnect(*args, **kwargs)
            if channel._registered:  # noqa: SLF001 - as kombu does
                channel._on_connection_disconnect(self)  # noqa: SLF001

    return Watched


def _words(name: str, key: str, *told: Any) -> Words:
    """The words of a command of :func:`commands`."""
    match name:
        case "hset":
            return ("HSET", key, *told[-1])
        case "zadd":
            scores, *only_new = told
            places = [word for member, score in scores.items() for word in (score, member)]
            return ("ZADD", key, *(["NX"] if only_new else ()), *places)
        case _:
            return (name.upper(), key, *told)


#: The JSON that kombu writes, without the encoder that it makes for each message.
kombu_json = JSONEncoder(separators=(",", ":")).encode


def label(messages: Sequence[tuple[str, Envelope]], next_tag: Callable[[], str]) -> None:
    """Write into messages, given with their queues, where they go and their delivery tags."""
    for queue, message in messages:
        message["properties"].update(
            delivery_mode=2,
            delivery_info={"exchange": "", "routing_key": queue},
            delivery_tag=next_tag(),
        )


def commands(
    messages: Sequence[tuple[str, Envelope]], key_of: Callable[[str, Envelope], str]
) -> list[Command]:
    """Return the commands that enqueue and record messages: one of a kind for all of them.

    Packing each by itself would cost most. ``key_of`` names the list of a queue and a priority.
    """
    lists: dict[str, list[str]] = {}
    records: dict[str, str] = {}
    times: dict[str, float] = {}
    rings: dict[str, list[tuple[str, str]]] = {}
    now = time.time()
    for queue, message in messages:
        body = kombu_json(message)
        key, headers = key_of(queue, message), message["headers"]
        if (tenant := headers.get(names.TENANT)) and is_ours(headers):
            rings.setdefault(queue, []).append((key, tenant))
            key = tenants_list(key, tenant)
        lists.setdefault(key, []).append(body)
        if headers.get(names.INTAKE) and not headers.get("retries"):
            records[headers["id"]] = body
            times[headers["id"]] = _due(headers, now)
    found: list[Command] = []
    if records:
        pairs = [text for record in records.items() for text in record]
        found += [
            ("hset", names.INTAKE_RECORDS, None, None, None, pairs),
            ("zadd", names.INTAKE_TIMES, times),
        ]
    found += [("lpush", key, *bodies) for key, bodies in lists.items()]
    for queue, places in rings.items():
        found += ring_commands(queue, places)
    # The workers of app/messaging/transport.py wait for it.
    return found + [("zadd", names.WAKE + q, {"1": 0}) for q in {q for q, _ in messages}]


def is_ours(headers: Mapping[str, Any]) -> bool:
    """Return whether a message is a step's: those that read its queue know tenants' lists."""
    return bool(headers.get(names.INTAKE) or headers.get(names.JOURNALED))


def tenants_list(key: str, tenant: str) -> str:
    """Return the list of one tenant's messages beside a queue's list."""
    return f"{key}{names.TENANT_LIST}{tenant}"


def ring_commands(queue: str, places: Sequence[tuple[str, str]]) -> list[Command]:
    """Return the commands that have messages taken, by the list and the tenant of each."""
    ring = {}
    for key, tenant in places:
        _, mark, step = key.rpartition(RedisChannel.sep)
        priority = int(step) % len(PRIORITY_STEPS) if mark else 0
        ring[f"{priority}:{tenant}"] = priority << RING_BITS
    counted = f"{queue}{RedisChannel.sep}{COUNTED_STEP}"
    # Where one stands already it keeps its place; the place is put right when it comes first.
    return [("zadd", names.RING + queue, ring, True), ("lpush", counted, *["1"] * len(places))]


def forget_tenants(redis: Any, queue: str) -> None:
    """Delete the messages of tenants in a queue; their count is another list of it."""
    ring = names.RING + queue
    if tenants := {member.partition(b":")[2].decode() for member in redis.zrange(ring, 0, -1)}:
        steps = (*PRIORITY_STEPS, *BULK_STEPS)
        lists = [f"{queue}{RedisChannel.sep}{step}" if step else queue for step in steps]
        redis.delete(ring, *(tenants_list(key, tenant) for tenant in tenants for key in lists))


def headers_of(record: bytes | str | None) -> dict[str, Any] | None:
    """Return the headers of a message as the intake has it; None when there is none."""
    return None if record is None else json.loads(record).get("headers")


def _due(headers: dict[str, Any], now: float) -> float:
    """Return when a message may be on its way no longer: counted from now, or from its ``eta``."""
    if (eta := headers.get("eta")) is None:
        return now
    try:
        return max(datetime.fromisoformat(eta or "").timestamp(), now)
    except (TypeError, ValueError):
        return now


class Transport(RedisTransport):
    """Used by :class:`celery_agents.Client`; workers need it no more than plain producers do."""

    Channel = Channel
