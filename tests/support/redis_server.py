"""A broker for the tests that can be killed, frozen, wiped and started again on its data."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Self

import redis

from deploy.local.servers import ValkeyServer
from tests.support.bound import bound
from tests.support.ports import free_port

#: Numbered databases, so that each test of a session can have a fresh one.
DATABASES = 512


class RedisServer(ValkeyServer):
    """The launcher's server with what tests do to a broker."""

    @cached_property
    def _reserved(self) -> int:
        return free_port()

    def _choose_port(self) -> int:
        """The same in each of its lives: nobody takes it while the server is down."""
        return self._reserved

    def _command(self, configuration: Path) -> list[str]:
        return bound(super()._command(configuration))

    @cached_property
    def _numbers(self) -> Iterator[int]:
        return itertools.cycle(range(1, self._databases))  # 0 is left alone

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def client(self, database: int = 0) -> redis.Redis:
        """A client of one database; answers are text."""
        return redis.Redis.from_url(self.database_url(database), decode_responses=True)

    def restart(self) -> None:
        """Stop it in order and start it on the same data and port."""
        self.stop()
        self.start()

    def wipe(self) -> None:
        """Lose all data, as a broker without persistence does in a restart."""
        with self.client() as client:
            client.flushall()

    def fresh_database(self) -> int:
        """The number of an empty database, another one each time until all have been used."""
        number = next(self._numbers)
        with self.client(number) as client:
            client.flushdb()
        return number

    def fresh_url(self) -> str:
        """The URL of an empty database that no other test has."""
        return self.database_url(self.fresh_database())
