"""Runs that are asked for at the same time are accepted together, in few round trips.

A run whose request has an ``Idempotency-Key`` has an id that follows from it. The fingerprint of
what was asked stands in Redis for a day, and with the run's row in the journal: so a key is one run
even where Redis was emptied, and another body under it is refused.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from redis.exceptions import RedisError

from api.problems import busy
from api.together import LoopTurn
from app.concurrency.future import Future
from app.journal.schema.rows import NewStep
from app.journal.stores.desk import Desk
from celery_agents import names
from celery_agents.client.client import Client
from celery_agents.contracts.ask import StepOptions
from celery_agents.errors import (
    AgentsError,
    BrokerUnavailableError,
    IdInUseError,
    UnreadableValueError,
)
from celery_agents.noted import note, noting
from celery_agents.wire.messages import Message, fingerprint

log = logging.getLogger(__name__)
T = TypeVar("T")

#: Seconds for which Redis knows what was asked under a key.
IDEMPOTENT_S = 24 * 3600
#: Runs that are accepted at once.
_BATCH = 500
#: Batches under way: one waits for the disk, one is looked up, one is put together.
_AT_ONCE = 3
#: Seconds between two looks at how many runs nobody has begun.
_LOOK_S = 1.0
_SEEN = "agents:api:asked:"
_IN_USE = "Something else was asked under this Idempotency-Key."
Away = (RedisError, OSError, AgentsError)


def id_of_key(tenant: str, key: str, route: str = "POST /tasks") -> str:
    """The id of the run that a tenant asks for under a key; each route has keys of its own."""
    made = hashlib.sha256(f"{tenant}\0{route}\0{key}".encode()).digest()
    return str(uuid.UUID(bytes=made[:16], version=5))


@dataclass(slots=True)
class Posting:
    """A run that is asked for, and the answer to whoever asks."""

    message: Message
    request: StepOptions
    keyed: bool
    #: Redis could not tell what was asked under its key.
    unseen: bool = field(default=False, init=False)
    accepted: asyncio.Future[bool] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    def row(self) -> NewStep:
        """Its row in the journal."""
        return NewStep.of_message(self.request, self.message)

    def tell(self, *, replayed: bool) -> None:
        """Say that it is accepted, or was before."""
        if not self.accepted.done():
            self.accepted.set_result(replayed)

    def refuse(self, error: Exception) -> None:
        """Say why it is not."""
        if not self.accepted.done():
            self.accepted.set_exception(error)


class Sending:
    """Accepts runs.

    Args:
        client: sends their messages.
        desk: the journal.
        redis: an asyncio client of the same Redis.
        call: runs a function that blocks in a thread.
        journaled: whether their rows are written before they are accepted.
        backlog_max: with so many that nobody has begun, no more are accepted.
    """

    def __init__(
        self,
        client: Client,
        desk: Desk,
        redis: Any,
        call: Callable[..., Any],
        *,
        journaled: bool,
        backlog_max: int,
    ) -> None:
        self._client, self._desk, self._redis, self._call = client, desk, redis, call
        self._journaled = journaled
        self._backlog_max = backlog_max
        self._turn = LoopTurn[Posting](self._accept, Posting.refuse, _BATCH, at_once=_AT_ONCE)
        self._looked_at = 0.0
        self._full = False

    async def send(self, order: Posting) -> bool:
        """Accept a run; returns whether it was accepted before, under its key.

        Raises:
            ProblemError: too many are waiting.
            IdInUseError: something else was asked under its key.
            JournalUnavailableError, BrokerUnavailableError: it is not accepted.
        """
        self._turn.add(order)
        return await order.accepted

    async def close(self) -> None:
        """Accept what is under way."""
        await self._turn.close()

    async def _accept(self, orders: list[Posting]) -> None:
        known = await self._known([o for o in orders if o.keyed])
        await self._look()
        new = [o for o in orders if not o.accepted.done()]
        if self._full:
            await self._forget([o for o in new if o.message.id not in known])
            text = "Too many runs wait to be begun; are workers up?"
            for order in new:
                order.refuse(busy(text, "backlog", 5))
            return
        written = await self._write(new) if self._journaled else new
        messages = [o.message for o in written]
        if self._journaled:
            messages = [replace(m, journaled=True, recorded=False) for m in messages]
            text = "Runs were accepted whose messages may not have been sent: recovery sends them"
            with noting(log, "api_publish", text, BrokerUnavailableError):
                await self._client.publish_async(messages)
        else:
            await self._client.publish_async(messages)
        for order in written:
            order.tell(replayed=order.message.id in known)

    async def _write(self, orders: Sequence[Posting]) -> list[Posting]:
        """Write their rows; returns those of which there is one."""
        futures = [on_loop(self._desk.accept(o.row())) for o in orders]
        results = await asyncio.gather(*futures, return_exceptions=True)
        written = []
        for order, result in zip(orders, results, strict=True):
            if isinstance(result, Exception):
                order.refuse(result)
            else:
                written.append(order)
        if unseen := [o for o in written if o.unseen]:
            await self._refuse_others(unseen)
        return [o for o in written if not o.accepted.done()]

    async def _known(self, orders: Sequence[Posting]) -> set[str]:
        """Answer orders under keys that are known; returns the ids of those to be sent again.

        Who was first may have ended before it sent anything, so a run without a row is sent again:
        a copy costs nothing.
        """
        if not orders:
            return set()
        ids = list({o.message.id for o in orders})
        work = self._seen(orders), self._call(self._desk.asked, ids)
        before, rows = await asyncio.gather(*work)
        again: set[str] = set()
        for order, told in zip(orders, before, strict=True):
            message = order.message
            known: str | None = None if told is None else told.decode()
            row = rows.get(message.id)
            if isinstance(row, UnreadableValueError):
                order.refuse(row)  # nobody knows whether the same was asked
                continue
            if row is not None:
                known = self._fingerprint(row)
            if known is None:
                continue
            if known not in (message.known_as or {message.fingerprint}):
                order.refuse(IdInUseError(_IN_USE))
            elif row is not None:
                order.tell(replayed=True)
            else:
                again.add(message.id)
        return again

    async def _seen(self, orders: Sequence[Posting]) -> list[bytes | None]:
        """Tell what Redis knows of keys, and let it know them from now on.

        While it is away rows tell what was asked under a key, where runs are accepted by these.
        """
        pipe = self._redis.pipeline(transaction=False)
        for order in orders:
            asked = order.message.fingerprint
            pipe.set(f"{_SEEN}{order.message.id}", asked, nx=True, get=True, ex=IDEMPOTENT_S)
        try:
            before: list[bytes | None] = await pipe.execute()
        except (RedisError, OSError) as error:
            if not self._journaled:
                raise
            note(log, "api_keys", "Keys of requests are known by rows alone", error=error)
            before = [None] * len(orders)
            for order in orders:
                order.unseen = True
        return before

    async def _forget(self, orders: Sequence[Posting]) -> None:
        """Free the keys of runs that were not accepted: something else may be asked under them."""
        if keys := [f"{_SEEN}{o.message.id}" for o in orders if o.keyed]:
            with noting(log, "api_keys", "Keys of refused runs are kept", RedisError, OSError):
                await self._redis.delete(*keys)

    async def _refuse_others(self, orders: Sequence[Posting]) -> None:
        """Refuse those whose row was another request's, under the same key at the same moment."""
        rows = await self._call(self._desk.asked, [o.message.id for o in orders])
        for order in orders:
            row, message = rows.get(order.message.id), order.message
            if isinstance(row, UnreadableValueError):
                order.refuse(row)
            elif row is not None and self._fingerprint(row) not in (
                message.known_as or {message.fingerprint}
            ):
                order.refuse(IdInUseError(_IN_USE))

    def _fingerprint(self, row: tuple[str, Mapping[str, Any]]) -> str:
        """The fingerprint of what a row was asked."""
        task, payload = row
        told = (payload.get("args", []), payload.get("kwargs", {}))
        return fingerprint(task, *told, self._client.celery.seals)

    async def _look(self) -> None:
        """Look once a second whether too many runs wait to be begun."""
        if time.monotonic() < self._looked_at + _LOOK_S:
            return
        self._looked_at = time.monotonic()
        if self._journaled:
            waiting = (await self._call(self._desk.live, None))["ready"]
        else:
            waiting = await self._redis.hlen(names.INTAKE_RECORDS)
        self._full = waiting >= self._backlog_max


def on_loop(reply: Future[T]) -> asyncio.Future[T]:
    """The same future for the running event loop."""
    loop = asyncio.get_running_loop()
    made: asyncio.Future[T] = loop.create_future()

    def take() -> None:
        if not made.done():
            try:
                made.set_result(reply.result())
            except Exception as error:  # noqa: BLE001 - it is handed on
                made.set_exception(error)

    reply.add_done_callback(lambda _: loop.call_soon_threadsafe(take))
    return made
