"""The actors of Dramatiq."""

import os

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import AsyncIO
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

from bench.model_client import ask

broker = RedisBroker(url=os.environ["REDIS_URL"])
broker.add_middleware(
    Results(backend=RedisBackend(url=os.environ["REDIS_URL"]), store_results=True)
)
broker.add_middleware(AsyncIO())
dramatiq.set_broker(broker)


@dramatiq.actor
def noop(value: int) -> int:
    """Return the value."""
    return value


@dramatiq.actor
async def wait(value: int) -> int:
    """Ask the model server, which echoes the value after 200 ms."""
    return await ask(value)


@dramatiq.actor
def add(value: int) -> int:
    """Add one."""
    return value + 1
