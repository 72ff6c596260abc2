"""Runs that are asked for at the same time are accepted together, in few round trips.

A run whose request has an ``Idempotency-Key`` has an id that follows from it. Whoever makes its row
was first, and another body under the key is refused: what was asked stands in the row. Where runs
are accepted before they have one, the fingerprint of what was asked stands in Redis, too, for a
day; so a key is one run even where Redis was emptied.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

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
    JournalUnavailableError,
    UnreadableValueError,
)
from celery_agents.noted import noting
from celery_agents.wire.messages import Message, fingerprint

log = logging.getLogger(__name__)

#: Seconds for which Redis knows what was asked under a key.
IDEMPOTENT_S = 24 * 3600
#: Runs that are accepted at once.
_BATCH = 500
#: Batches under way: one waits for the disk, one is looked up, one is put together.
_AT_ONCE = 3
#: Runs that wait to be accepted, and the seconds that a batch of them may take: a journal that does
#: not answer is away.
_WAITING, _ACCEPTED_S = 5_000, 30.0
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
    accepted: asyncio.Future[bool] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    def row(self) -> NewStep:
        """Its row in the journal."""
        return NewStep.of_message(self.request, self.message)

    @property
    def fingerprints(self) -> Collection[str]:
        """Those of the same request, under each of the keys that encrypt."""
        return self.message.known_as or {self.message.fingerprint}

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
        #: The last rows of batches that took too long: they may still be written.
        self._given_up: list[Future[bool]] = []

    async def send(self, order: Posting) -> bool:
        """Accept a run; returns whether it was accepted before, under its key.

        Raises:
            ProblemError: too many are waiting.
            IdInUseError: something else was asked under its key.
            JournalUnavailableError, BrokerUnavailableError: it is not accepted, or not yet.
        """
        if self._turn.waiting >= _WAITING:
            raise busy("Too many runs wait to be accepted.")
        self._turn.add(order)
        return await order.accepted

    async def close(self) -> None:
        """Accept what is under way."""
        await self._turn.close()

    async def _accept(self, orders: list[Posting]) -> None:
        try:
            async with asyncio.timeout(_ACCEPTED_S):
                await self._accept_all(orders)
        except TimeoutError:
            text = "It is not known whether the run is accepted: the journal does not answer."
            raise JournalUnavailableError(text) from None

    async def _accept_all(self, orders: list[Posting]) -> None:
        self._given_up = [reply for reply in self._given_up if not reply.done()]
        if self._given_up:  # no more are queued for it, to be written long after this refusal
            raise JournalUnavailableError("The journal does not answer.")
        await self._look()
        if self._full:
            await self._turn_away(orders)
        elif self._journaled:
            await self._accept_rows(orders)
        else:
            await self._accept_messages(orders)

    async def _turn_away(self, orders: list[Posting]) -> None:
        """Refuse all but those that were accepted before."""
        keyed = [o for o in orders if o.keyed]
        if self._journaled:
            await self._answer_by_rows(keyed)
        else:
            known = await self._known(keyed)
            new = [o for o in keyed if not o.accepted.done() and o.message.id not in known]
            await self._forget(new)
        for order in orders:
            order.refuse(busy("Too many runs wait to be begun; are workers up?", "backlog", 5))

    async def _accept_rows(self, orders: list[Posting]) -> None:
        """Accept by rows: what was asked under a key is what its row was asked."""
        first: dict[str, Posting] = {}
        for order in orders:
            first.setdefault(order.message.id, order)
        new = await self._write([*first.values()])
        messages = [replace(o.message, journaled=True, recorded=False) for o in new]
        text = "Runs were accepted whose messages may not have been sent: recovery sends them"
        with noting(log, "api_publish", text, BrokerUnavailableError):
            await self._client.publish_async(messages)
        for order in new:
            order.tell(replayed=False)
        old = [o for o in orders if not o.accepted.done()]
        await self._answer_by_rows(old)
        for order in old:  # its row was another one's, and is gone again
            order.refuse(busy("What was asked under this key is not known now."))

    async def _accept_messages(self, orders: list[Posting]) -> None:
        """Accept by messages: Redis knows what was asked under a key, and so does its row."""
        known = await self._known([o for o in orders if o.keyed])
        new = [o for o in orders if not o.accepted.done()]
        await self._client.publish_async([o.message for o in new])
        for order in new:
            order.tell(replayed=order.message.id in known)

    async def _write(self, orders: Sequence[Posting]) -> list[Posting]:
        """Write their rows; returns those that are new."""
        new = []
        replies = self._desk.accept(o.row() for o in orders)
        try:
            written = await outcomes(replies)
        except asyncio.CancelledError:
            self._given_up += replies[-1:]
            raise
        for order, made in zip(orders, written, strict=True):
            if isinstance(made, Exception):
                order.refuse(made)
            elif made or not order.keyed:
                new.append(order)
        return new

    async def _answer_by_rows(self, orders: Sequence[Posting]) -> None:
        """Answer those of orders under keys that have a row."""
        if not orders:
            return
        rows = await self._call(self._desk.asked, [*{o.message.id for o in orders}])
        for order in orders:
            if (row := rows.get(order.message.id)) is None:
                continue
            if isinstance(row, UnreadableValueError):
                order.refuse(row)  # nobody knows whether the same was asked
            elif self._fingerprint(row) in order.fingerprints:
                order.tell(replayed=True)
            else:
                order.refuse(IdInUseError(_IN_USE))

    async def _known(self, orders: Sequence[Posting]) -> set[str]:
        """Answer orders under keys that are known; returns the ids of those to be sent again.

        Who was first may have ended before it sent anything, so a run without a row is sent again:
        a copy costs nothing.
        """
        if not orders:
            return set()
        before, _ = await asyncio.gather(self._seen(orders), self._answer_by_rows(orders))
        again: set[str] = set()
        for order, told in zip(orders, before, strict=True):
            if told is None or order.accepted.done():
                continue
            if told.decode() in order.fingerprints:
                again.add(order.message.id)
            else:
                order.refuse(IdInUseError(_IN_USE))
        return again

    async def _seen(self, orders: Sequence[Posting]) -> list[bytes | None]:
        """Tell what Redis knows of keys, and let it know them from now on."""
        pipe = self._redis.pipeline(transaction=False)
        for order in orders:
            asked = order.message.fingerprint
            pipe.set(f"{_SEEN}{order.message.id}", asked, nx=True, get=True, ex=IDEMPOTENT_S)
        before: list[bytes | None] = await pipe.execute()
        return before

    async def _forget(self, orders: Sequence[Posting]) -> None:
        """Free the keys of runs that were not accepted: something else may be asked under them."""
        if keys := [f"{_SEEN}{o.message.id}" for o in orders if o.keyed]:
            with noting(log, "api_keys", "Keys of refused runs are kept", RedisError, OSError):
                await self._redis.delete(*keys)

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


async def outcomes(replies: Sequence[Future[bool]]) -> list[bool | Exception]:
    """Wait for replies that come together; the last one wakes the loop for nearly all."""
    for reply in reversed(replies):
        if not reply.done():
            await _arrival(reply)
    return [_outcome(reply) for reply in replies]


def _outcome(reply: Future[bool]) -> bool | Exception:
    try:
        return reply.result()
    except Exception as error:  # noqa: BLE001 - it is handed on
        return error


async def _arrival(reply: Future[Any]) -> None:
    """Wait until a reply of another thread is there."""
    loop = asyncio.get_running_loop()
    there: asyncio.Future[None] = loop.create_future()
    reply.add_done_callback(lambda _: loop.call_soon_threadsafe(_tell, there))
    await there


def _tell(there: asyncio.Future[None]) -> None:
    if not there.done():  # else who waited was cancelled
        there.set_result(None)
