"""Tasks of Celery that hold a lock of their key in Redis, as users write them without actors."""

from __future__ import annotations

import os
from functools import cache

import redis
from celery import Celery

#: The hash with the sum of each key.
TOTALS = "totals"
#: A lock of a worker that died is free again after so long.
_LOCK_S = 10.0
app = Celery("locked", broker=os.environ.get("REDIS_URL"), set_as_current=False)
app.conf.update(task_acks_late=True, task_ignore_result=True, task_default_queue="locked")


@cache
def _client() -> redis.Redis:
    return redis.Redis.from_url(os.environ["REDIS_URL"])


@app.task(name="locked.deposit")
def deposit(key: str, number: int) -> None:
    """Read, add and write under the key's lock; twice, where it comes twice."""
    client = _client()
    with client.lock(f"lock:{key}", timeout=_LOCK_S, sleep=0.001):
        total = int(client.hget(TOTALS, key) or 0)
        client.hset(TOTALS, key, str(total + number))
