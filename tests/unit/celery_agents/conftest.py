"""A client, and the Redis that it writes to."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from celery_agents import Client
from tests.support.redis_server import RedisServer


@pytest.fixture
def client(redis_url: str) -> Iterator[Client]:
    with Client(redis_url) as made:
        yield made


@pytest.fixture
def store(broker: RedisServer, redis_database: int) -> Iterator[redis.Redis]:
    with broker.client(redis_database) as made:
        yield made
