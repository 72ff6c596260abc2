"""The functions of SAQ."""

import os
from typing import Any

from saq import Queue

from bench.model_client import ask

queue = Queue.from_url(os.environ["REDIS_URL"])


async def noop(_: Any, *, value: int) -> int:
    """Return the value."""
    return value


async def wait(_: Any, *, value: int) -> int:
    """Ask the model server, which echoes the value after 200 ms."""
    return await ask(value)


settings = {
    "queue": queue,
    "functions": [noop, wait],
    "concurrency": int(os.environ["BENCH_CONCURRENCY"]),
    # Its sweep aborts jobs that were taken and have not begun at that moment, which under load some
    # have: a round in which it runs fails.
    "timers": {"sweep": 3600},
}
