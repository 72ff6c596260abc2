"""Waiting for ends: all who begin to at once share one connection, and leave one for looks."""

from __future__ import annotations

import asyncio
import json

import pytest
from redis.asyncio import BlockingConnectionPool, Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from api.endings import Endings
from app.concurrency.cancelling import let_go
from celery_agents import Client

MANY = 64


def test_those_who_begin_to_wait_at_once_take_one_connection(redis_url: str) -> None:
    """With one each, none was left, and whoever looked waited for what never came back."""

    async def wait() -> int:
        pool = BlockingConnectionPool.from_url(redis_url, max_connections=2, timeout=10)
        redis: Redis = Redis.from_pool(pool)
        with Client(redis_url) as client:
            backend = client.celery.backend
            endings = Endings(redis, backend)
            ids = [f"endings-{n}" for n in range(MANY)]
            waits = [asyncio.create_task(endings.wait(one, 30)) for one in ids]
            await asyncio.sleep(0.1)
            for one in ids:
                meta = {"task_id": one, "status": "SUCCESS", "result": None, "traceback": None}
                await redis.set(backend.get_key_for_task(one), json.dumps(meta), ex=60)
            found = await asyncio.gather(*waits)
            await endings.close()
            await redis.aclose()
        return sum(one is not None for one in found)

    assert asyncio.run(wait()) == MANY


def test_who_waits_once_more_is_heard_though_redis_was_away(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing had been subscribed to: it was looked for each second, and not listened to."""

    async def away(_: bytes) -> None:
        raise RedisConnectionError

    async def wait() -> None:
        redis: Redis = Redis.from_url(redis_url)
        with Client(redis_url) as client:
            endings = Endings(redis, client.celery.backend)
            with monkeypatch.context() as patched:
                patched.setattr(endings, "_listen", away)
                for run_id in ("r", *(f"other-{n}" for n in range(40))):
                    assert await endings.wait(run_id, 0.01) is None
            again = asyncio.ensure_future(endings.wait("r", 600))
            key = client.celery.backend.get_key_for_task("r")
            async with asyncio.timeout(60):
                while endings._pubsub is None or key not in endings._pubsub.channels:  # noqa: ASYNC110 - another task
                    await asyncio.sleep(0.01)
            await let_go(again)
            await endings.close()
            await redis.aclose()

    asyncio.run(wait())
