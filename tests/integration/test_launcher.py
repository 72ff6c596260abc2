"""The launcher with a real broker and real workers (of an app that needs no journal)."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from deploy.local import locks
from deploy.local.servers import ValkeyServer
from deploy.local.stack import local_stack, reap
from deploy.local.state import ROOT, private_directory
from tests.support import sample_app
from tests.support.service import CHECKOUT

pytestmark = pytest.mark.databases("none")

PROCFILE = (
    "worker: celery -A tests.support.sample_app worker --hostname ${WORKER_NAME:-worker@%h} "
    "--pool threads --concurrency 2 --loglevel INFO -Q shop\n"
)
#: In place of a worker, where it is enough that one runs.
IDLE = "worker: sh -c \"echo ' ready.'; exec sleep 600\"\n"
LAUNCH = """
import sys, threading
from pathlib import Path
from deploy.local.stack import local_stack
with local_stack(directory=Path(sys.argv[1]), procfile_path=Path(sys.argv[2])) as stack:
    print("up", flush=True)
    threading.Event().wait()
"""


@pytest.fixture(autouse=True)
def no_servers_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REDIS_URL", raising=False)
    monkeypatch.delenv("DATABASE_URL", raising=False)


@pytest.fixture
def procfile_path(tmp_path: Path) -> Path:
    path = tmp_path / "Procfile"
    path.write_text(PROCFILE)
    return path


@pytest.fixture
def directory(tmp_path: Path, _migrated_sqlite: Path) -> Iterator[Path]:
    """Where a stack has run before: it has a journal."""
    path = tmp_path / "state with spaces"
    private_directory(path)
    shutil.copyfile(_migrated_sqlite, path / "journal.db")
    yield path
    reap(path)


def await_true(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_worker_and_broker_come_back_after_a_kill(directory: Path, procfile_path: Path) -> None:
    reports: list[str] = []
    with local_stack(
        directory=directory, procfile_path=procfile_path, report=reports.append
    ) as running:
        app = sample_app.shop(running.redis_url)
        assert app.send_task("shop.add", (1, 2)).get(timeout=20) == 3
        killed = running.worker_pid()
        assert killed is not None
        os.kill(killed, signal.SIGKILL)
        await_true(lambda: running.worker_pid() not in {None, killed})
        assert app.send_task("shop.add", (3, 4)).get(timeout=20) == 7
        assert running.broker is not None
        password, begun = running.broker.password, Path(f"/proc/{running.worker_pid()}/cmdline")
        assert password not in begun.read_text()
        os.kill(running.broker.pid, signal.SIGKILL)
        await_true(lambda: "broker ended; starting it again" in reports)
        await_true(lambda: running.broker is not None and running.broker.running)
        assert app.send_task("shop.add", (5, 6)).get(timeout=30) == 11
        assert password not in running.log("worker").read_text()
    assert locks.holder(directory / "worker.pid") is None
    assert locks.holder(directory / "broker" / "server.pid") is None


def test_password_is_kept_and_shown_nowhere(directory: Path, procfile_path: Path) -> None:
    procfile_path.write_text(IDLE)
    for _ in range(2):
        with local_stack(directory=directory, procfile_path=procfile_path) as running:
            assert running.broker is not None
            password = running.broker.password
            arguments = [
                Path(f"/proc/{pid}/cmdline") for pid in (running.broker.pid, running.worker_pid())
            ]
            assert not any(password in path.read_text() for path in arguments if path.exists())
            with redis.Redis.from_url(running.redis_url) as client:
                client.incr("starts")
                starts = client.get("starts")
        logs = [*directory.glob("logs/*"), directory / "broker" / "server.log"]
        assert len(logs) == 2
        assert not any(password in path.read_text() for path in logs)
    assert starts == b"2"  # the data survived, and the password with it


def test_what_a_crashed_launcher_left_is_ended_first(directory: Path, procfile_path: Path) -> None:
    procfile_path.write_text(IDLE)
    with subprocess.Popen(
        [sys.executable, "-c", LAUNCH, str(directory), str(procfile_path)],
        env=CHECKOUT.environment({}),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as launcher:
        assert launcher.stdout is not None
        assert launcher.stdout.readline() == "up\n"
        worker = locks.holder(directory / "worker.pid")
        broker = locks.holder(directory / "broker" / "server.pid")
        assert None not in {worker, broker}
        launcher.kill()
    assert locks.holder(directory / "worker.pid") == worker
    with local_stack(directory=directory, procfile_path=procfile_path) as running:
        assert running.broker is not None
        assert running.broker.pid != broker
        assert running.worker_pid() != worker
        assert locks.holder(directory / "worker.pid") == running.worker_pid()


def test_port_of_another_server_is_not_taken_over(tmp_path: Path) -> None:
    first, second = ValkeyServer(tmp_path / "one"), ValkeyServer(tmp_path / "two")
    try:
        first.start()
        (tmp_path / "two").mkdir()
        (tmp_path / "two" / "port").write_text(str(first.port))
        second.start()
        assert second.port != first.port
        second.kill()
        first.stop()
        kept = second.port
        second.start()
        assert second.port == kept
    finally:
        first.stop()
        second.stop()
