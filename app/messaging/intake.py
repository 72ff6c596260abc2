"""The intake, seen from the workers: what clients recorded beside the message that they sent.

A record says that a message was accepted. Once its step has a row the record has done its work;
one that stays without a row belongs to a message that was lost, and becomes a row here.
"""

from __future__ import annotations

import base64
import time
from datetime import datetime
from itertools import chain
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, TypeAdapter
from redis import Redis

from app.journal.queries.reads import asked_with
from app.messaging.fairly import LOOK, shares
from app.messaging.json_codec import loads
from app.messaging.redis import connect_redis
from app.settings import Settings
from celery_agents import names
from celery_agents.contracts.base import Id
from celery_agents.contracts.tenants import TenantState
from celery_agents.transport import (
    BULK_STEPS,
    COUNTED_STEP,
    PRIORITY_STEPS,
    lengths_by_priority,
    lists_of,
)
from celery_agents.wire.ids import begun_at

#: The state of a run that has no row yet.
QUEUED = "queued"
#: How many messages stand in lists: as commands of their own each took redis-py 0.1 ms.
_LENGTHS = "local n = 0 for _, k in ipairs(KEYS) do n = n + redis.call('LLEN', k) end return n"
#: Tenants of a queue that are looked at: the first ones of its ring.
LISTED_MAX = 1000


class Intake:
    """Reading and clearing the intake records of one Redis."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    @classmethod
    def connect(cls, settings: Settings) -> Self:
        """The intake of these settings' Redis; nothing is opened before its first use."""
        return cls(connect_redis(settings))

    def older_than(self, age_s: float, limit: int) -> list[str]:
        """Ids recorded at least ``age_s`` seconds ago, oldest first."""
        until = time.time() - age_s  # clients' clocks: a wrong one makes recovery early or late
        ids: Any = self._redis.zrangebyscore(names.INTAKE_TIMES, "-inf", until, 0, limit)
        return [i.decode() for i in ids]

    def read(self, ids: list[str]) -> dict[str, dict[str, Any] | None]:
        """The recorded messages; None where the record cannot be read."""
        records: Any = self._redis.hmget(names.INTAKE_RECORDS, ids) if ids else []
        read = {i: _decode(r) for i, r in zip(ids, records, strict=True)}
        return {i: m if m and m["headers"].get("id") == i else None for i, m in read.items()}

    def queued(self, run_id: str) -> dict[str, Any] | None:
        """A run that nobody has taken yet, as the journal would show it; None: none is recorded."""
        message = self.read([run_id])[run_id]
        if message is None:
            return None
        headers, agent = message["headers"], message["kwargs"].get("agent")
        queue = (message["properties"].get("delivery_info") or {}).get("routing_key")
        step = {
            "id": run_id,
            "parent_id": None,
            "member": None,
            "task": headers["task"],
            "agent": agent if isinstance(agent, str) else None,
            "state": QUEUED,
            "queue": queue,
            "attempts": 0,
            "error": None,
            "usage": None,
            "duration_s": None,
            "why": None,
            "left_out": 0,
            "started_at": None,
            "finished_at": None,
        }
        return {
            "id": run_id,
            "task": headers["task"],
            "tenant": headers.get(names.TENANT) or "",
            "state": QUEUED,
            "created_at": begun_at(run_id),
            "finished_at": None,
            "usage": None,
            "compensation": None,
            **asked_with(message["kwargs"]),
            "steps": [step],
            "steps_left_out": 0,
            "progress": [],
        }

    def has(self, step_id: str) -> bool:
        """Return whether a message is recorded."""
        return bool(self._redis.hexists(names.INTAKE_RECORDS, step_id))

    def postpone(self, step_id: str) -> None:
        """Count a record as new, so that it is looked at again after a while."""
        self._redis.zadd(names.INTAKE_TIMES, {step_id: time.time()}, xx=True)

    def without_record(self, ids: list[str]) -> list[str]:
        """Those of these ids that have a time and nothing else."""
        records: Any = self._redis.hmget(names.INTAKE_RECORDS, ids)
        return [i for i, r in zip(ids, records, strict=True) if r is None]

    def forget(self, ids: list[str]) -> None:
        """Delete the records of these ids."""
        if ids:
            pipe = self._redis.pipeline(transaction=True)
            pipe.hdel(names.INTAKE_RECORDS, *ids)
            pipe.zrem(names.INTAKE_TIMES, *ids)
            pipe.execute()

    def depth(self, queue: str) -> int:
        """Messages in a queue, over all its lists."""
        steps = (*PRIORITY_STEPS[1:], *BULK_STEPS, COUNTED_STEP)
        keys = [queue, *(f"{queue}\x06\x16{step}" for step in steps)]
        found: Any = self._redis.eval(_LENGTHS, len(keys), *keys)
        return int(found)

    def by_priority(self, queue: str) -> dict[int, int]:
        """Messages in a queue by priority, 0 first; those of tenants aside."""
        pipe = self._redis.pipeline(transaction=False)
        for key in chain.from_iterable(lists_of(queue).values()):
            pipe.llen(key)
        return lengths_by_priority(pipe.execute())

    def tenants(self, queue: str) -> list[TenantState]:
        """The tenants of a queue with what they have queued and in flight, most queued first."""
        script = shares({}) + LOOK
        found: Any = self._redis.eval(script, 0, LISTED_MAX, queue)
        states = [_state(*row) for row in found]
        return sorted(states, key=lambda s: (-s.queued, -s.in_flight, s.name))


def _state(queue: bytes, name: bytes, queued: int, in_flight: int, first: bytes) -> TenantState:
    begun = begun_at(first.decode("utf-8", "replace"))
    return TenantState(
        name=name.decode("utf-8", "replace"),
        queue=queue.decode(),
        queued=queued,
        in_flight=in_flight,
        oldest_s=None if begun is None else max(round(time.time() - begun, 3), 0.0),
    )


class _Headers(BaseModel):
    model_config = ConfigDict(extra="allow")

    id: Id
    task: str


class _Properties(BaseModel):
    model_config = ConfigDict(extra="allow")

    body_encoding: str | None = None
    priority: int | None = None
    delivery_info: dict[str, Any] | None = None


class _Record(BaseModel):
    headers: _Headers
    properties: _Properties
    body: str


_BODY: TypeAdapter[tuple[list[Any], dict[str, Any], dict[str, Any] | None]] = TypeAdapter(
    tuple[list[Any], dict[str, Any], dict[str, Any] | None]
)


def _decode(record: bytes | None) -> dict[str, Any] | None:
    """The message in a record; None for whatever is none: it must not stop those behind it."""
    try:
        message = _Record.model_validate(loads(record or b""), strict=True)
        body: str | bytes = message.body
        if message.properties.body_encoding == "base64":
            body = base64.b64decode(body)
        args, kwargs, embed = _BODY.validate_python(loads(body))
    except (ValueError, RecursionError):
        return None
    return {
        "headers": message.headers.model_dump(),
        "properties": message.properties.model_dump(exclude_unset=True),
        "args": args,
        "kwargs": kwargs,
        "embed": embed or {},
    }


def expired(message: dict[str, Any]) -> bool:
    """Return whether a recorded message was not to be run any more (Celery's ``expires``)."""
    return past(message["headers"].get("expires"))


def past(expires: object) -> bool:
    """Return whether the time in this header, if it is one, is over."""
    if not isinstance(expires, str):
        return False
    try:
        until = datetime.fromisoformat(expires)
    except ValueError:
        return False
    return until.timestamp() < time.time()
