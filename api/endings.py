"""Waiting for the ends of runs: one subscription for all who wait in this process."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from typing import Any

from redis.exceptions import RedisError

from app.concurrency.cancelling import let_go
from celery_agents.client.waiting import Meta
from celery_agents.noted import note, noting
from celery_agents.wire.results import ResultBackend

log = logging.getLogger(__name__)

#: Seconds between two looks: a connection that was lost may have lost a result.
_LOOK_S = 1.0
_AWAY_S = 0.25
#: Subscriptions to runs that nobody waits for, which are given up together: each by itself is a
#: command and its reply.
_STALE = 32


class Endings:
    """Tells when runs end. ``redis`` is an asyncio client of where results are."""

    def __init__(self, redis: Any, backend: ResultBackend) -> None:
        self._redis = redis
        self._backend = backend
        self._waiting: defaultdict[bytes, set[asyncio.Future[Meta]]] = defaultdict(set)
        self._stale: set[bytes] = set()
        self._pubsub: Any = None
        self._connecting = asyncio.Lock()  # two who connect it at once take two connections
        self._reader: asyncio.Task[None] | None = None

    async def look(self, run_id: str) -> Meta | None:
        """The result of a run, if it has ended."""
        raw = await self._redis.get(self._backend.get_key_for_task(run_id))
        return self._backend.ended([raw]).get(run_id)

    async def wait(self, run_id: str, timeout_s: float) -> Meta | None:
        """The result of a run as soon as it has ended; None when the time is over.

        While Redis is away nobody hears of ends: it is looked again until the time is over.
        """
        until = time.monotonic() + timeout_s
        key: bytes = self._backend.get_key_for_task(run_id)
        heard: asyncio.Future[Meta] = asyncio.get_running_loop().create_future()
        listens = bool(self._waiting[key])  # a stale one may never have been subscribed to
        self._waiting[key].add(heard)
        self._stale.discard(key)
        try:
            while (left := until - time.monotonic()) > 0:
                pause_s = _LOOK_S
                try:
                    if not listens:
                        await self._listen(key)
                        listens = True
                    if (meta := await self.look(run_id)) is not None:
                        return meta
                except (RedisError, OSError) as error:
                    note(log, "api_look", "Ends of runs are not seen", error=error)
                    pause_s = _AWAY_S
                await asyncio.wait({heard}, timeout=min(left, pause_s))
                if heard.done():
                    return heard.result()
            return None
        finally:
            self._waiting[key].discard(heard)
            if not self._waiting[key]:
                del self._waiting[key]
                self._stale.add(key)
                if len(self._stale) > _STALE and self._pubsub is not None:
                    await self._give_up()

    async def _give_up(self) -> None:
        """Give up subscriptions that nobody waits for any more, all at once."""
        stale, self._stale = self._stale, set()
        with noting(log, "api_look", "Some ends are still listened for", RedisError, OSError):
            await self._pubsub.unsubscribe(*stale)

    async def close(self) -> None:
        """Close the subscription."""
        if self._reader is not None:
            await let_go(self._reader)
            await self._pubsub.aclose()

    async def _listen(self, key: bytes) -> None:
        if self._pubsub is None:
            self._pubsub = self._redis.pubsub(ignore_subscribe_messages=True)
        async with self._connecting:
            await self._pubsub.subscribe(key)
        if self._reader is None:
            self._reader = asyncio.get_running_loop().create_task(self._read())

    async def _read(self) -> None:
        while True:
            try:
                if not self._pubsub.subscribed:
                    async with self._connecting:
                        await self._pubsub.connect()
                message = await self._pubsub.get_message(timeout=_LOOK_S)
            except (RedisError, OSError) as error:
                note(log, "api_listen", "Ends of runs are not heard", error=error)
                await asyncio.sleep(_AWAY_S)
                continue
            if message is not None and message["type"] == "message":
                self._tell(message["data"])

    def _tell(self, raw: bytes) -> None:
        for run_id, meta in self._backend.ended([raw]).items():
            for heard in self._waiting.get(self._backend.get_key_for_task(run_id), ()):
                if not heard.done():
                    heard.set_result(meta)
