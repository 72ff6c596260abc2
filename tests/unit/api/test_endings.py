"""Waiting for ends: all who begin to at once share one connection, and leave one for looks."""

from __future__ import annotations

import asyncio
import json

from redis.asyncio import BlockingConnectionPool, Redis

from api.endings import Endings
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
