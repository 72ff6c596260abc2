"""The test kit from the wheel: a project's twelve tests in an environment without anything else."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deploy.local.state import ROOT
from tests.docs.blocks import Block, blocks
from tests.integration.harness import eventually
from tests.support.wheel import Site

pytestmark = [pytest.mark.databases("none"), pytest.mark.slow, pytest.mark.timeout(600)]

PROJECT = ROOT / "tests" / "support" / "projects" / "kit"
PAGE = blocks(ROOT / "docs" / "testing.md", "python")
#: The first test of the page, which needs no agent of a project.
FIRST, FIRST_FILE = PAGE[0], "test_first.py"
#: Run before any test: nothing but this machine is reached, from pytest or from the worker.
NO_NETWORK = """
import socket
plain = socket.socket.connect, socket.socket.connect_ex

def _checked(way):
    def connect(self, address):
        if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise SystemExit(f"it connects to {address}")
        return way(self, address)
    return connect

socket.socket.connect, socket.socket.connect_ex = map(_checked, plain)
"""


@pytest.fixture(scope="module")
def site(disk: Path) -> Site:
    return Site(disk / "site", "worker,local", "pytest")


def test_the_sample_project(site: Site, tmp_path: Path) -> None:
    project = tmp_path / "project"
    shutil.copytree(PROJECT, project, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    (project / FIRST_FILE).write_text(FIRST.code)
    watch = tmp_path / "watch"
    watch.mkdir()
    (watch / "sitecustomize.py").write_text(NO_NETWORK)
    begin = time.monotonic()
    env = {"PYTHONPATH": str(watch), "HOME": str(tmp_path)}
    files = (FIRST_FILE, "desk_tests.py")
    argv = ("pytest", "-q", "--durations=5", f"--basetemp={tmp_path / 'base'}", *files)
    told = site.run(*argv, cwd=project, env=env)
    took = time.monotonic() - begin
    print(told, f"{took:.1f} s")
    assert re.search(r"^13 passed", told, re.MULTILINE), told
    left = [p for p in (tmp_path / "base").rglob("*.pid") if _runs(p)]
    assert left == []


SHOWN = [b for b in PAGE if b.code.startswith("def ")]


@pytest.mark.parametrize("block", SHOWN, ids=lambda block: str(block.line))
def test_the_page_shows_tests_that_run(block: Block) -> None:
    assert block.code in (PROJECT / "desk_tests.py").read_text()


def _runs(pid_file: Path) -> bool:
    text = pid_file.read_text().strip()
    return text.isdigit() and Path(f"/proc/{text}").exists()


KILLED = """
import os, signal
from pathlib import Path

def test_it(agents_stack, tmp_path_factory):
    pids = [agents_stack.worker.pid, agents_stack._broker.pid, agents_stack.worker._forking.pid]
    Path("pids").write_text(" ".join(map(str, pids)))
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_nothing_is_left_when_the_tests_are_killed(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(KILLED)
    # As where the package is installed, however old the metadata of this environment are.
    info = tmp_path / "site" / "celery_agents-9.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: celery-agents\nVersion: 9\n")
    (info / "entry_points.txt").write_text("[pytest11]\ncelery_agents = pytest_celery_agents\n")
    argv = [sys.executable, "-m", "pytest", f"--rootdir={tmp_path}", "-p", "celery_agents"]
    done = subprocess.run(
        [*argv, "-q", f"--basetemp={tmp_path / 'base'}", "test_it.py"],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": f"{ROOT}{os.pathsep}{info.parent}",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # those of others take most of its time
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stdout + done.stderr
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert len(pids) == 3
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), "they have ended")
