"""A primary, its replica, and three sentinels that watch them: real processes on loopback."""

from __future__ import annotations

import secrets
import signal
from contextlib import suppress
from pathlib import Path
from typing import Self

import redis

from deploy.local.child import Child
from deploy.local.servers import LOOPBACK, server_binary
from deploy.local.state import private_directory, write_private
from tests.integration.harness import eventually
from tests.support.ports import free_port
from tests.support.redis_server import RedisServer

MASTER = "tests-primary"
SENTINELS = 3
#: Sentinels agree that the primary is down after this, and promote the replica.
DOWN_AFTER_MS = 1000


class Member(RedisServer):
    """A server that follows another one, or would if that became the primary."""

    def __init__(self, directory: Path, password: str, primary: RedisServer | None = None) -> None:
        super().__init__(directory)
        private_directory(directory)
        write_private(directory / "password", password)
        self._primary = primary

    def _configuration(self) -> str:
        lines = f"{super()._configuration()}masterauth {self.password}\n"
        if self._primary is None:
            return lines
        return f"{lines}replicaof {LOOPBACK} {self._primary.port}\n"

    @property
    def role(self) -> str:
        """``master``, ``slave``, or nothing while it changes and drops its clients."""
        with self.client() as client, suppress(redis.ConnectionError):
            return str(client.role()[0])
        return ""

    def follows(self) -> bool:
        """Whether it has all that its primary had when it began to follow."""
        with self.client() as client:
            return bool(client.info("replication").get("master_link_status") == "up")


class Watched:
    """The servers under sentinels that ask for a password of their own."""

    def __init__(self, directory: Path) -> None:
        self.password, self.sentinel_password = (secrets.token_hex(8) for _ in range(2))
        self._directory = directory
        self.primary = Member(directory / "primary", self.password)
        self.replica = Member(directory / "replica", self.password, self.primary)
        self.ports: list[int] = []
        self._sentinels: list[Child] = []

    def __enter__(self) -> Self:
        self.primary.start()
        self.replica.start()
        eventually(self.replica.follows, "the replica")
        for number in range(SENTINELS):
            self._start_sentinel(number)
        eventually(lambda: all(self._knows(port) for port in self.ports), "the sentinels")
        return self

    def __exit__(self, *_: object) -> None:
        for child in self._sentinels:
            child.kill()
        for server in (self.primary, self.replica):
            server.kill()

    def url(self, database: int = 0) -> str:
        hosts = ",".join(f"{LOOPBACK}:{port}" for port in self.ports)
        query = f"master_name={MASTER}&sentinel_password={self.sentinel_password}"
        return f"sentinel://:{self.password}@{hosts}/{database}?{query}"

    def kill_primary(self) -> None:
        self.primary.kill()

    def kill_sentinel(self, number: int) -> None:
        self._sentinels[number].send(signal.SIGKILL)

    @property
    def replica_took_over(self) -> bool:
        """Whether some sentinel tells so: the replica knows it before they do."""
        for port in self.ports:
            with suppress(redis.RedisError):
                with redis.Redis(LOOPBACK, port, password=self.sentinel_password) as sentinel:
                    named = sentinel.sentinel_get_master_addr_by_name(MASTER)
                if named is not None and int(named[1]) == self.replica.port:
                    return True
        return False

    def change_primary(self) -> None:
        """Have the replica take over while the primary lives: it is demoted, and follows."""
        with redis.Redis(LOOPBACK, self.ports[0], password=self.sentinel_password) as sentinel:
            sentinel.execute_command("SENTINEL", "FAILOVER", MASTER)

    def _start_sentinel(self, number: int) -> None:
        directory = self._directory / f"sentinel-{number}"
        private_directory(directory)
        port = free_port()
        lines = [
            f"port {port}",
            f"bind {LOOPBACK}",
            f'dir "{directory}"',
            "daemonize no",
            f"requirepass {self.sentinel_password}",
            f"sentinel sentinel-pass {self.sentinel_password}",
            f"sentinel monitor {MASTER} {LOOPBACK} {self.primary.port} 2",
            f"sentinel auth-pass {MASTER} {self.password}",
            f"sentinel down-after-milliseconds {MASTER} {DOWN_AFTER_MS}",
            f"sentinel failover-timeout {MASTER} 10000",
        ]
        configuration = directory / "sentinel.conf"
        write_private(configuration, "\n".join(lines) + "\n")
        self.ports.append(port)
        self._sentinels.append(
            Child(
                [str(server_binary()), str(configuration), "--sentinel"],
                pid_file=directory / "sentinel.pid",
                output=directory / "sentinel.log",
            )
        )

    def _knows(self, port: int) -> bool:
        """Whether a sentinel knows the replica and its own like."""
        try:
            with redis.Redis(LOOPBACK, port, password=self.sentinel_password) as sentinel:
                state = sentinel.sentinel_masters()[MASTER]
        except (redis.RedisError, KeyError):
            return False
        return bool(state["num-other-sentinels"] == SENTINELS - 1 and state["num-slaves"] == 1)
