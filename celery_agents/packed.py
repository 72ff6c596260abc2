"""Commands of Redis that are written together, and nothing beside them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from redis import Redis
from redis.exceptions import ResponseError

#: A command's words, its name first.
Words = tuple[Any, ...]


def exchange(redis: Redis, commands: Sequence[Words]) -> list[Any]:
    """Make commands in one write; their answers, which are errors where Redis refused one.

    As a pipeline of redis-py, which takes three times as long for each command.

    Raises:
        RedisError: Redis is away, or did not answer in time.
    """
    pool = redis.connection_pool
    connection: Any = pool.get_connection()
    try:
        found: list[Any] = connection.retry.call_with_retry(
            lambda: _exchange(connection, commands), lambda _: connection.disconnect()
        )
    except BaseException:
        connection.disconnect()  # some answers may be unread
        raise
    finally:
        pool.release(connection)
    return found


def transact(redis: Redis, commands: Sequence[Words]) -> None:
    """Make commands in one transaction and one write: all of them, or none.

    Raises:
        RedisError: Redis is away, did not answer in time, or refused one. Of those that it read
            without a mistake the others were made all the same.
    """
    answers = exchange(redis, [("MULTI",), *commands, ("EXEC",)])
    made = answers[-1]
    for answer in (*answers, *(made if isinstance(made, list) else ())):
        if isinstance(answer, Exception):
            raise answer


def _exchange(connection: Any, commands: Sequence[Words]) -> list[Any]:
    pack = connection.pack_command
    words = [word for command in commands for word in pack(*command)]
    connection.send_packed_command([b"".join(words)])
    return [_answer(connection.read_response) for _ in commands]


def _answer(read: Any) -> Any:
    try:
        return read()
    except ResponseError as error:
        return error
