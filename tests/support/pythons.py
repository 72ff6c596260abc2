"""Interpreters of other versions than the tests' own, and a project that an environment serves."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.local.state import ROOT
from tests.support.wheel import run
from tests.support.workers import WorkerProcess, unique_name

#: The wheel's service.
SERVICE = "celery_agents.service"
_PROJECT = ROOT / "tests" / "support" / "projects" / "pythons"

#: All that an environment needs of it, and its version.
_ASKED = "import ctypes, sqlite3, ssl, sys, venv; print('%d.%d' % sys.version_info[:2])"


def find(version: str) -> Path | None:
    """An interpreter of that version that runs: of PATH, of pyenv, or of uv's own."""
    for candidate in _candidates(version):
        asked = subprocess.run(
            [candidate, "-I", "-c", _ASKED], cwd="/", capture_output=True, text=True, check=False
        )
        if asked.stdout.strip() == version:  # a shim of pyenv's is there for versions that are not
            return candidate
    return None


def _candidates(version: str) -> Iterator[Path]:
    if found := shutil.which(f"python{version}"):
        yield Path(found)
    home = Path.home()
    pyenv = Path(os.environ.get("PYENV_ROOT") or home / ".pyenv")
    yield from sorted(pyenv.glob(f"versions/{version}.*/bin/python"), reverse=True)
    uv = home / ".local" / "share" / "uv" / "python"
    yield from sorted(uv.glob(f"cpython-{version}.*/bin/python3"), reverse=True)


@contextmanager
def served(python: str, redis_url: str, folder: Path) -> Iterator[Callable[[str], list[str]]]:
    """Have a worker of an environment with the wheel serve a copy of the project.

    Gives what runs one of the project's programs, and returns the lines that it printed. The worker
    has told of no error, or the test fails.
    """
    project = shutil.copytree(_PROJECT, folder / "project")
    bin_ = Path(python).parent
    env = {
        "PATH": f"{bin_}{os.pathsep}{os.environ.get('PATH', '')}",
        "PYTHONPATH": "",
        "PYTHONUNBUFFERED": "1",
        "REDIS_URL": redis_url,
        "DATABASE_URL": f"sqlite:///{folder / 'journal.db'}",
        "AGENTS_MODULES": "offered",
    }
    options = ["--concurrency", "8", "--without-mingle", "--without-gossip", "--loglevel", "INFO"]
    command = [str(bin_ / "celery"), "-A", SERVICE, "worker", *options]
    worker = WorkerProcess(unique_name(), command, env=env, directory=folder, cwd=project)
    worker.start()
    try:
        worker.wait_ready()
        yield lambda program: run(python, program, cwd=project, env=env).splitlines()
    finally:
        worker.kill()
    assert "Traceback" not in worker.logs()
