"""The vendors of pytest-celery, as processes of this machine instead of Docker containers.

A test asks for pytest-celery's own ``celery_setup`` fixture and gets a real broker and a real
worker of this project. ``PYTEST_CELERY_DOCKER=1`` leaves pytest-celery's Docker containers in
place; without it nothing here talks to Docker.
"""

from __future__ import annotations

import os
import secrets
import shlex
import signal
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import celery
import pytest
from pytest_celery import (
    CeleryTestBackend,
    CeleryTestBroker,
    CeleryTestContainer,
    CeleryWorkerContainer,
    RedisContainer,
)

from deploy.local.servers import LOOPBACK
from tests.support.redis_server import RedisServer
from tests.support.service import SERVICE
from tests.support.workers import WorkerProcess, worker_command

DOCKER = os.environ.get("PYTEST_CELERY_DOCKER") == "1"


class ProcessContainer(CeleryTestContainer):
    """A process that offers pytest-celery's nodes what a Docker container does."""

    process: RedisServer | WorkerProcess

    def __init__(self, name: str) -> None:
        # The base class wraps an object of Docker's; there is none.
        self._name = name
        self._id = secrets.token_hex(6)

    @property
    def id(self) -> str:
        return self._id

    @property
    def name(self) -> str:
        return self._name

    @property
    def status(self) -> str:
        return "running" if self.process.running else "exited"

    @property
    def attrs(self) -> dict[str, Any]:
        return {"Config": {"Hostname": LOOPBACK, "Env": []}, "State": {"Status": self.status}}

    @property
    def env(self) -> dict[str, str]:
        return {}

    def exec_run(self, cmd: str | list[str], **_: Any) -> tuple[int, bytes]:
        """Run a command beside the process, in its environment."""
        argv = shlex.split(cmd) if isinstance(cmd, str) else cmd
        environ = SERVICE.environment(self.env)
        done = subprocess.run(
            argv, env=environ, cwd=SERVICE.folder, capture_output=True, check=False
        )
        return done.returncode, done.stdout + done.stderr

    def reload(self) -> None:
        """The state of a process is always fresh."""

    def remove(self, *_: Any, **__: Any) -> None:
        raise RuntimeError("The fixture ends the process after the test.")

    def ready(self) -> bool:
        return self.process.running

    def logs(self) -> str:
        raise NotImplementedError

    def kill(self, signal: str | int | None = None) -> None:
        raise NotImplementedError

    def restart(self, timeout: float = 10) -> None:
        raise NotImplementedError


def _number(name: str | int | None) -> signal.Signals:
    """The signal that Docker's ``kill`` would send."""
    if name is None:
        return signal.SIGKILL
    return signal.Signals(name) if isinstance(name, int) else signal.Signals[name]


class ProcessRedisContainer(ProcessContainer, RedisContainer):
    """A broker or result backend: one numbered database of a server of the tests."""

    process: RedisServer

    def __init__(self, server: RedisServer, database: int) -> None:
        super().__init__("redis")
        self.process = server
        self._database = database

    @property
    def url(self) -> str:
        return self.process.database_url(self._database)

    @property
    def host_url(self) -> str:
        return self.url

    @property
    def hostname(self) -> str:
        return LOOPBACK

    @property
    def port(self) -> int:
        return self.process.port

    @property
    def vhost(self) -> str:
        return str(self._database)

    def logs(self) -> str:
        return self.process.log.read_text(errors="replace")

    def kill(self, signal: str | int | None = None) -> None:
        if _number(signal).name == "SIGTERM":
            self.process.stop()
        else:
            self.process.kill()

    def restart(self, timeout: float = 10) -> None:
        self.process.stop(grace_s=timeout)
        self.process.start()


class ProcessWorkerContainer(ProcessContainer, CeleryWorkerContainer):
    """A worker of this project, started as the Procfile says."""

    process: WorkerProcess

    def __init__(self, command: list[str], env: Mapping[str, str], directory: Path) -> None:
        super().__init__(self.worker_name())
        self._environ = dict(env)
        node = f"{self.worker_name()}@{self.id}"
        if command == self.command():
            command = worker_command(node)
        self.process = WorkerProcess(node, command, env=env, directory=directory)

    @classmethod
    def command(cls, *_: str, **__: Any) -> list[str]:
        """The Procfile's worker line."""
        return worker_command(cls.worker_name())

    @classmethod
    def version(cls) -> str:
        return str(celery.__version__)

    @classmethod
    def worker_queue(cls) -> str:
        return "agents"

    @classmethod
    def initial_env(
        cls, celery_worker_cluster_config: dict[str, Any], initial: dict[str, str] | None = None
    ) -> dict[str, str]:
        """The variables that our settings read, besides those that pytest-celery sets."""
        broker = celery_worker_cluster_config["celery_broker_cluster_config"]["urls"][0]
        backend = celery_worker_cluster_config["celery_backend_cluster_config"]["urls"][0]
        urls = {"CELERY_BROKER_URL": broker, "CELERY_RESULT_BACKEND": backend}
        return {"REDIS_URL": broker, **urls, **(initial or {})}

    @property
    def env(self) -> dict[str, str]:
        return self._environ

    def logs(self) -> str:
        return self.process.logs()

    def kill(self, signal: str | int | None = None) -> None:
        number = _number(signal)
        if number.name == "SIGKILL":
            self.process.kill()
        elif number.name == "SIGTERM":
            self.process.terminate()
        else:
            self.process.send(number)

    def restart(self, timeout: float = 10) -> None:
        if self.process.running:
            self.process.terminate(timeout)
        self.process.start()
        self.process.wait_ready()

    def teardown(self) -> None:
        self.process.close()


# pytest-celery runs a test once for each broker and backend that it knows; ours is Redis.
@pytest.fixture
def celery_broker(celery_redis_broker: CeleryTestBroker) -> CeleryTestBroker:
    return celery_redis_broker


@pytest.fixture
def celery_backend(celery_redis_backend: CeleryTestBackend) -> CeleryTestBackend:
    return celery_redis_backend


if not DOCKER:

    @pytest.fixture
    def default_redis_broker(broker: RedisServer, redis_database: int) -> ProcessRedisContainer:
        return ProcessRedisContainer(broker, redis_database)

    @pytest.fixture
    def default_redis_backend(broker: RedisServer, redis_database: int) -> ProcessRedisContainer:
        return ProcessRedisContainer(broker, redis_database)

    @pytest.fixture
    def default_worker_container_cls() -> type[ProcessWorkerContainer]:
        return ProcessWorkerContainer

    @pytest.fixture
    def default_worker_container(
        default_worker_container_cls: type[ProcessWorkerContainer],
        default_worker_command: list[str],
        default_worker_env: dict[str, str],
        tmp_path: Path,
    ) -> Iterator[ProcessWorkerContainer]:
        container = default_worker_container_cls(
            default_worker_command, default_worker_env, tmp_path
        )
        container.process.start()
        container.process.wait_ready()
        yield container
        container.teardown()

    @pytest.fixture
    def default_worker_env(
        default_worker_container_cls: type[ProcessWorkerContainer],
        celery_worker_cluster_config: dict[str, Any],
        worker_environment: dict[str, str],
    ) -> dict[str, str]:
        return default_worker_container_cls.initial_env(
            celery_worker_cluster_config, worker_environment
        )
