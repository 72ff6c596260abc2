"""Commands that are written together: answers in their order, errors where Redis refused one."""

from __future__ import annotations

import pytest
from redis import Redis
from redis.exceptions import NoScriptError, RedisError, ResponseError

from celery_agents.packed import exchange, transact
from celery_agents.redis_url import read_redis_url
from tests.support.ports import free_port

pytestmark = pytest.mark.databases("none")


def test_each_has_its_own_answer(redis_url: str) -> None:
    with read_redis_url(redis_url).client() as redis:
        found = exchange(
            redis,
            [
                ("SET", "a", 1),
                ("INCRBY", "a", 41),
                ("EVALSHA", "0" * 40, 0),
                ("LPUSH", "a", "no list"),
                ("EVAL", "return {ARGV[1], {}}", 0, "ü\n"),
            ],
        )
        assert found[:2] == [b"OK", 42]
        assert isinstance(found[2], NoScriptError)
        assert isinstance(found[3], ResponseError)
        assert found[4] == ["ü\n".encode(), []]
        assert exchange(redis, []) == []


def test_who_was_cut_off_is_told_and_asks_anew(redis_url: str) -> None:
    """What is left of one write is no answer to the next one."""
    with read_redis_url(redis_url).client() as redis:
        (own,) = exchange(redis, [("CLIENT", "ID")])
        dies = [("SET", "a", 1), ("CLIENT", "KILL", "ID", own, "SKIPME", "no")]
        with pytest.raises(RedisError):
            exchange(redis, [*dies, *[("GET", "a")] * 3])
        assert exchange(redis, [("GET", "a")]) == [b"1"]


def test_where_there_is_none_it_is_an_error() -> None:
    with (
        Redis(host="127.0.0.1", port=free_port(), socket_timeout=1) as redis,
        pytest.raises(RedisError),
    ):
        exchange(redis, [("PING",)])


class TestTransactions:
    def test_all_of_it(self, redis_url: str) -> None:
        with read_redis_url(redis_url).client() as redis:
            transact(redis, [("SET", "a", 1), ("ZADD", "z", "NX", 2.5, "m"), ("LPUSH", "l", 1, 2)])
            assert exchange(redis, [("GET", "a"), ("ZSCORE", "z", "m"), ("LLEN", "l")]) == [
                b"1",
                2.5,
                2,
            ]

    def test_none_of_it_where_one_cannot_be_read(self, redis_url: str) -> None:
        with read_redis_url(redis_url).client() as redis:
            with pytest.raises(ResponseError):
                transact(redis, [("SET", "a", 1), ("NOSUCH", "a")])
            assert exchange(redis, [("EXISTS", "a")]) == [0]

    def test_one_that_is_refused_is_told(self, redis_url: str) -> None:
        with read_redis_url(redis_url).client() as redis:
            with pytest.raises(ResponseError, match="WRONGTYPE"):
                transact(redis, [("SET", "a", 1), ("LPUSH", "a", 1)])
            assert exchange(redis, [("GET", "a")]) == [b"1"]
