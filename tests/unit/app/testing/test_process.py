"""The process that forks workers: none of them outlives it, and nobody else is killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from app.testing.worker import StackWorker
from celery_agents.errors import ConfigurationError
from deploy.local.state import ROOT

#: It imports nothing, and its workers write their ids and sleep.
_FORKS = """
import os, pathlib, sys, time
import app.testing.process as process
process.import_module, process._EARLY, process._OURS = lambda name: None, (), ()

def work(argv, environ):
    place = pathlib.Path(argv[0])
    place.with_suffix(".new").write_text(str(os.getpid()))
    place.with_suffix(".new").rename(place)  # whoever sees it reads all of it
    time.sleep(60)

process._work = work
"""


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


def forked(code: str, line: str) -> None:
    """Have it read a line, by whom nobody waits for an answer, and wait until it has ended."""
    unread, told = os.pipe()
    os.close(unread)
    try:
        command = [sys.executable, "-c", _FORKS + code, str(told)]
        subprocess.run(
            command, input=line.encode(), pass_fds=[told], cwd=ROOT, timeout=60, check=True
        )
    finally:
        os.close(told)


def test_a_worker_that_nobody_hears_of_any_more_ends_too(tmp_path: Path) -> None:
    """Who asked for it was killed while modules were imported."""
    place = tmp_path / "pid"
    waits = f"""
write = os.write
def later(file, data):
    while not (place := pathlib.Path({str(place)!r})).exists() or not place.read_text():
        time.sleep(0.01)
    return write(file, data)
os.write = later
process.main()
"""
    forked(waits, json.dumps([[str(place)], {}]) + "\n")
    until = time.monotonic() + 10
    while psutil.pid_exists(int(place.read_text())) and time.monotonic() < until:
        time.sleep(0.05)
    assert not psutil.pid_exists(int(place.read_text()))


def test_who_has_the_id_of_a_worker_that_has_ended_is_left_alone(
    bystander: subprocess.Popen[bytes],
) -> None:
    forked(f"os.fork = lambda: {bystander.pid}\nprocess.main()", "[[], {}]\n")
    assert bystander.poll() is None


def test_who_waits_reads_why_it_has_ended_while_it_imported(tmp_path: Path) -> None:
    (tmp_path / "celery.py").write_text("raise ImportError('no celery here')\n")
    path = os.pathsep.join([str(tmp_path), str(ROOT), *filter(None, sys.path)])
    env = {**os.environ, "PYTHONPATH": path}
    worker = StackWorker(env=env, cwd=tmp_path, log=tmp_path / "worker.log")
    worker.preload()
    assert worker._forking is not None
    worker._forking.wait(60)
    try:
        worker.start(["worker"], {"A": "b" * 100})
        with pytest.raises(ConfigurationError, match="no celery here"):
            worker.wait_ready()
    finally:
        worker.stop()
    assert worker._forking is None


def test_what_they_do_not_need_is_not_imported() -> None:
    """An agent alone needs no broker and no journal, a worker no terminal."""
    code = (
        "import sys; from celery_agents.testing import AgentTester;"
        "print(*sys.modules); from app.testing import process;"
        "process._fork = lambda told: print(*sys.modules); process.main()"
    )
    command = [sys.executable, "-c", code, "1"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    alone, worker = (
        {name.partition(".")[0] for name in line.split()} for line in told.split("\n", 1)
    )
    assert {"agents", "app"} <= alone
    assert not alone & {"celery", "kombu", "redis", "sqlalchemy"}
    assert {"app", "tasks", "sqlalchemy", "celery"} <= worker
    assert not worker & {"alembic", "click_repl", "flower", "prompt_toolkit"}
