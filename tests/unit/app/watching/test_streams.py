from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from app.journal.schema.rows import Claimed
from app.watching.streams import DATA_BYTES, EVENTS_MAX, Streams
from celery_agents import names
from tests.support.redis_server import RedisServer

WAIT_S = 10.0


@pytest.fixture
def store(broker: RedisServer, redis_database: int) -> Iterator[redis.Redis]:
    with broker.client(redis_database) as made:
        yield made


def claim(token: int = 1) -> Claimed:
    about: dict[str, Any] = {"parent_id": None, "member": None, "task": "t", "agent": "a"}
    about |= {"queue": "q", "priority": 5, "payload": {}, "max_attempts": 3, "remaining_s": None}
    return Claimed(id="s", token=token, attempt=token, run_id="r", **about)


def told(store: redis.Redis) -> list[dict[str, Any]]:
    entries: Any = store.xrange(f"{names.STREAM}r")
    return [json.loads(fields[names.STREAM_FIELD]) for _, fields in entries]


def test_pieces_become_few_events_numbered_within_a_claim(store: redis.Redis) -> None:
    streams = Streams(store)
    for token in (1, 2):
        teller = streams.teller(claim(token))
        for n in range(100):
            teller.say(f"word{n} ")
        teller.end("succeeded").result(WAIT_S)
    events = told(store)
    assert [(e["token"], e["n"]) for e in events[:2]] == [(1, 1), (1, 2)]
    assert {(e["step_id"], e["agent"]) for e in events} == {("s", "a")}
    texts = [e["text"] for e in events if e["type"] == "text"]
    assert len(texts) < 20
    assert "".join(texts) == 2 * "".join(f"word{n} " for n in range(100))


def test_a_stream_is_bounded_and_expires(store: redis.Redis) -> None:
    streams = Streams(store)
    teller = streams.teller(claim())
    for n in range(2 * EVENTS_MAX):
        teller.tell("progress", done=n)
    teller.end("succeeded").result(WAIT_S)
    kept: Any = store.xlen(teller.key)
    assert EVENTS_MAX <= kept < 1.1 * EVENTS_MAX
    assert told(store)[-1]["data"] == {"state": "succeeded"}
    assert store.ttl(teller.key) > 0


def test_what_is_no_json_or_too_large_is_left_out(store: redis.Redis) -> None:
    streams = Streams(store)
    teller = streams.teller(claim())
    odd: Any = object()
    teller.tell("progress", odd=odd)
    teller.tell("progress", large="x" * DATA_BYTES)
    teller.tell("progress", fine=1)
    teller.end("failed").result(WAIT_S)
    assert [e["data"] for e in told(store)] == [{"fine": 1}, {"state": "failed"}]


def test_progress_lets_nothing_through_that_is_held_back(store: redis.Redis) -> None:
    streams = Streams(store)
    teller = streams.teller(claim())
    key = "sk-live-" + "0123456789abcdef0123456789"
    for piece in ("It is ", key[:12], key[12:20], key[20:], " and no more."):
        teller.say(piece)
        teller.tell("progress", done=1)
    teller.end("succeeded").result(WAIT_S)
    assert "".join(e.get("text", "") for e in told(store)) == "It is *** and no more."


def test_a_redis_that_is_away_holds_no_step_up() -> None:
    away = redis.Redis(port=1, socket_connect_timeout=0.2)
    teller = Streams(away).teller(claim())
    teller.say("lost")
    teller.end("succeeded").result(WAIT_S)
