"""The tasks of Taskiq."""

import os
from typing import Any

from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker

from bench.model_client import ask

results: RedisAsyncResultBackend[Any] = RedisAsyncResultBackend(os.environ["REDIS_URL"])
broker = RedisStreamBroker(os.environ["REDIS_URL"]).with_result_backend(results)


@broker.task
async def noop(value: int) -> int:
    """Return the value."""
    return value


@broker.task
async def wait(value: int) -> int:
    """Ask the model server, which echoes the value after 200 ms."""
    return await ask(value)
