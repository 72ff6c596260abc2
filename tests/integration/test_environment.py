"""Nothing that the environment says for other apps is where ours go: a trap hears of nobody."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from deploy.local.servers import LOOPBACK
from tests.integration.harness import FAST, Stack, celery, eventually
from tests.support.service import APP, SERVICE
from tests.support.workers import WorkerProcess

pytestmark = pytest.mark.databases("sqlite")


class Trap:
    """A port on which nobody of ours should call; who does is heard, and hung up on."""

    def __init__(self) -> None:
        self._listening = socket.create_server((LOOPBACK, 0))
        self.port = self._listening.getsockname()[1]
        self.heard: list[bytes] = []
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(1)
                try:
                    self.heard.append(connection.recv(4096))
                except OSError:
                    self.heard.append(b"")

    def close(self) -> None:
        self._listening.close()


@pytest.fixture
def trap() -> Iterator[Trap]:
    made = Trap()
    yield made
    made.close()


def variables(port: int) -> dict[str, str]:
    redis = f"redis://:not-ours@{LOOPBACK}:{port}/0"
    return {
        "CELERY_BROKER_URL": redis,
        "CELERY_BROKER_READ_URL": redis,
        "CELERY_BROKER_WRITE_URL": redis,
        "CELERY_RESULT_BACKEND": redis,
        "CELERY_BROKER": redis,
        "BROKER_URL": f"amqp://guest:guest@{LOOPBACK}:{port}//",
        "RESULT_BACKEND": redis,
        "CELERY_LOADER": "no.such.module:Loader",
        "HTTP_PROXY": f"http://{LOOPBACK}:{port}",
        "PGHOSTADDR": LOOPBACK,
        "PGPORT": str(port),
    }


@pytest.fixture
def stack(
    redis_url: str,
    sqlite_journal_url: str,
    tmp_path: Path,
    trap: Trap,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Stack]:
    env = variables(trap.port)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    made = Stack(redis_url, sqlite_journal_url, tmp_path, {**FAST, **env})
    yield made
    made.close()


def test_nobody_calls_there(stack: Stack, trap: Trap) -> None:
    """Client, worker, beat, Flower and the commands."""
    worker, beat = stack.worker(), stack.beat("beat")
    assert stack.client.ask("shout", "hi").get(timeout=30) == "HI"
    asked = celery("-A", APP, "agents", "ask", "shout", "cli", env=stack.env)
    assert asked.stdout == "CLI\n", asked.stderr
    alone = celery("agents", "ask", "shout", "alone", env=stack.env)
    assert alone.stdout == "ALONE\n", alone.stderr
    ping = celery("-A", APP, "inspect", "ping", env=stack.env)
    assert worker.name in ping.stdout, ping.stderr
    beat.wait_for_log("Beat has its lock")
    assert seen_by_flower(stack, worker.name)
    assert worker.running
    assert trap.heard == []


def seen_by_flower(stack: Stack, name: str) -> bool:
    url = stack.flower({"FLOWER_UNAUTHENTICATED_API": "1"})

    def workers() -> bool:
        try:
            found = direct.get(f"{url}/api/workers?refresh=1", timeout=10)
        except requests.ConnectionError:
            return False
        return name in found.json()

    with requests.Session() as direct:
        direct.trust_env = False
        return eventually(workers, "Flower's sight of the worker")


def test_the_command_line_goes_before_the_environment(
    stack: Stack, trap: Trap, tmp_path: Path
) -> None:
    """``celery -b`` is said by whoever starts it, for all parts of the service."""
    env = {**stack.env, "REDIS_URL": f"redis://:not-ours@{LOOPBACK}:{trap.port}/0"}
    name = "said@tests"
    argv = ["-A", APP, "-b", stack.redis_url, "worker", "--hostname", name]
    worker = WorkerProcess(
        name,
        SERVICE.celery(*argv, "--loglevel", "INFO", "-Q", "agents"),
        env=env,
        directory=tmp_path,
    )
    stack.workers.append(worker)
    worker.start()
    worker.wait_ready()
    assert stack.client.ask("shout", "hi").get(timeout=30) == "HI"
    asked = celery("-A", APP, "-b", stack.redis_url, "agents", "ask", "shout", "a", env=env)
    assert asked.stdout == "A\n", asked.stderr
    others = celery("-b", stack.redis_url, "agents", "ask", "shout", "b", env=env)
    assert others.stdout == "B\n", others.stderr
    assert trap.heard == []
    refused = celery("-A", APP, "--result-backend", "rpc://", "inspect", "ping", env=env)
    assert refused.returncode != 0
    assert "--result-backend is not served" in refused.stderr
    assert os.environ["CELERY_BROKER_URL"]  # of the process it is another's: left alone


@pytest.mark.parametrize("name", ["REDIS_URL", "DATABASE_URL"])
def test_an_address_of_no_use_ends_each_command(stack: Stack, trap: Trap, name: str) -> None:
    secret = "hush" + "-hush"
    url = f"redis://:{secret}#x@{LOOPBACK}:{trap.port}/0"
    for command in (["worker"], ["beat"], ["agents", "ask", "shout", "x"]):
        done = celery("-A", APP, *command, env={**stack.env, name: url})
        assert done.returncode != 0
        assert f"{name} cannot be read" in done.stderr
        assert secret not in done.stderr + done.stdout
    assert trap.heard == []
