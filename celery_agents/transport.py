"""The client's transport: kombu's Redis transport, which also records what it sends.

A plain ``LPUSH`` can be lost after it was accepted (a worker killed at the wrong moment). A message
that carries the intake header is recorded and enqueued in one Redis transaction; the workers make
it a row of the journal, and clear the record when they have.
"""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any

from kombu.transport.redis import Channel as RedisChannel
from kombu.transport.redis import Transport as RedisTransport
from kombu.utils.json import dumps

from celery_agents import names

#: Ten real priorities, 0 first. Producers and workers of one Redis must agree on them.
PRIORITY_STEPS = tuple(range(10))


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
        "priority_steps": list(PRIORITY_STEPS),
        "queue_order_strategy": "round_robin",  # fair between queues
    }


class Channel(RedisChannel):
    """Records messages that ask for it, in the transaction that enqueues them; wakes workers."""

    def _put(self, queue: str, message: dict[str, Any], **kwargs: Any) -> None:
        headers = message.get("headers") or {}
        if "task" not in headers or queue in self._expires:  # replies to commands, above all
            super()._put(queue, message, **kwargs)
            return
        recorded = bool(headers.get(names.INTAKE)) and not headers.get("retries")
        key = self._q_for_pri(queue, self._get_message_priority(message, reverse=False))
        body = dumps(message)
        commands: list[tuple[Any, ...]] = [
            ("lpush", key, body),
            ("zadd", names.WAKE + queue, {"1": 0}),  # the workers of app/transport.py wait for it
        ]
        if recorded:
            commands[:0] = [
                ("hset", names.INTAKE_RECORDS, headers["id"], body),
                ("zadd", names.INTAKE_TIMES, {headers["id"]: _due(headers)}),
            ]
        batch = kwargs.get("_publish_batch")
        if batch is not None:  # recorded before it is enqueued; recovery mends a torn batch
            for command in commands:
                batch.add(*command)
            return
        with self.conn_or_acquire() as client, client.pipeline(transaction=recorded) as pipe:
            for name, *args in commands:
                getattr(pipe, name)(*args)
            pipe.execute()


def _due(headers: dict[str, Any]) -> float:
    """When a message may be on its way no longer: from now, or from its ``eta`` on."""
    try:
        eta = datetime.fromisoformat(headers.get("eta") or "").timestamp()
    except (TypeError, ValueError):
        return time.time()
    return max(eta, time.time())


class Transport(RedisTransport):
    """Used by :class:`celery_agents.Client`; workers need it no more than plain producers do."""

    Channel = Channel
