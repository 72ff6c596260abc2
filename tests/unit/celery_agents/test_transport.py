from __future__ import annotations

import json
import time
from typing import Any

import pytest
import redis

from celery_agents import names
from celery_agents.client.client import Client
from celery_agents.transport import Envelope, commands


def test_a_message_is_recorded_as_it_is_enqueued(client: Client, store: redis.Redis) -> None:
    run = client.ask("a", "hello")
    (queued,) = store.lrange("agents\x06\x165", 0, -1)
    assert json.loads(store.hget(names.INTAKE_RECORDS, run.id) or "") == json.loads(queued)
    assert store.zscore(names.INTAKE_TIMES, run.id) == pytest.approx(time.time(), abs=30)
    message = json.loads(queued)
    assert message["headers"]["id"] == run.id
    assert message["headers"]["task"] == names.ASK


def test_each_of_many_is_recorded(client: Client, store: redis.Redis) -> None:
    runs = client.ask.many("a", range(1200), priority=0)
    assert store.llen("agents") == 1200
    assert set(store.hkeys(names.INTAKE_RECORDS)) == {r.id for r in runs}
    assert store.zcard(names.INTAKE_TIMES) == 1200


def test_messages_that_do_not_ask_for_it_are_not_recorded(
    client: Client, store: redis.Redis
) -> None:
    client.celery.send_task("shop.add", (1, 2), queue="shop", priority=0)
    assert store.llen("shop") == 1
    assert store.hlen(names.INTAKE_RECORDS) == 0


def test_a_retry_is_not_recorded_again(client: Client, store: redis.Redis) -> None:
    client.celery.send_task(
        names.ASK, (1,), queue="agents", priority=0, headers={names.INTAKE: 1}, retries=2
    )
    assert store.llen("agents") == 1
    assert store.hlen(names.INTAKE_RECORDS) == 0


def test_a_cancel_is_recorded_and_a_question_is_not(client: Client, store: redis.Redis) -> None:
    client.runs.cancel("r")
    with pytest.raises(Exception, match="No result"):
        client.runs.status("r", timeout=0.01)
    assert store.llen(f"{names.CONTROL_QUEUE}\x06\x165") == 2
    assert store.hlen(names.INTAKE_RECORDS) == 1


def test_each_message_is_put_where_its_own_headers_say() -> None:
    """A worker's transport has lists of many at once, of the same priority."""

    def message(number: int, **headers: Any) -> Envelope:
        told = {"headers": {"id": str(number), **headers}, "properties": {"priority": 5}}
        return {"body": "", **told}

    some = [message(0), message(1, many=1), message(2)]
    found = commands([("q", one) for one in some], lambda q, one: f"{q}{len(one['headers'])}")
    pushed = {key: len(bodies) for name, key, *bodies in found if name == "lpush"}
    assert pushed == {"q1": 2, "q2": 1}
