"""Beat, as the Procfile starts it, while its Redis is restarted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from celery_agents import names
from tests.integration.harness import FAST, Stack, eventually
from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.databases("sqlite")

QUICK = {**FAST, "AGENTS_HEALTH_INTERVAL_S": "1", "AGENTS_BEAT_LOCK_S": "1"}


@pytest.fixture
def alone(own_broker: RedisServer, sqlite_journal_url: str, tmp_path: Path) -> Iterator[Stack]:
    """A stack on a broker of its own, without a worker: what beat sends stays in the queue."""
    made = Stack(own_broker.database_url(0), sqlite_journal_url, tmp_path, QUICK)
    yield made
    made.close()


def _restarted(broker: RedisServer) -> None:
    broker.restart()


def _without_its_data(broker: RedisServer) -> None:
    broker.restart()
    broker.wipe()


def _killed(broker: RedisServer) -> None:
    broker.kill()
    broker.start()


@pytest.mark.parametrize("happens", [_restarted, _without_its_data, _killed])
def test_it_outlives_its_redis(
    alone: Stack, own_broker: RedisServer, happens: Callable[[RedisServer], None]
) -> None:
    beat = alone.beat("beat")
    eventually(lambda: alone.depth(names.CONTROL_QUEUE) >= 2)
    happens(own_broker)
    eventually(lambda: sends(alone))
    assert beat.running


def test_it_waits_for_one_that_is_away(alone: Stack, own_broker: RedisServer) -> None:
    own_broker.stop()
    beat = alone.beat("beat")
    beat.wait_for_log("Beat waits for Redis")  # at its start
    own_broker.start()
    eventually(lambda: alone.depth(names.CONTROL_QUEUE) >= 2)
    own_broker.stop()
    own_broker.start()
    eventually(lambda: sends(alone))
    assert beat.running


def sends(stack: Stack) -> bool:
    """Whether more comes to the queue, once it was emptied."""
    stack.drop_messages(names.CONTROL_QUEUE)
    eventually(lambda: stack.depth(names.CONTROL_QUEUE) >= 2)
    return True
