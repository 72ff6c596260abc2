"""An earlier version of the service, as Git has it, in processes of its own."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from deploy.local.state import ROOT
from tests.support.workers import WorkerProcess, unique_name

_MIGRATIONS = "app/journal/schema/migrations/versions"


def _git(*words: str) -> bytes:
    return subprocess.run(["git", "-C", str(ROOT), *words], check=True, capture_output=True).stdout


def _newest(names: str) -> int:
    return max(int(number) for number in re.findall(r"/(\d{4})_\w+\.py$", names, re.MULTILINE))


def commit(before: int) -> tuple[str, str] | None:
    """The newest commit whose schema is so many migrations before today's, and that schema.

    None where the history is not here: a clone without its depth, or no clone.
    """
    try:
        files = [str(p) for p in (ROOT / _MIGRATIONS).glob("*.py")]
        wanted = _newest("\n".join(files)) - before
        for found in _git("log", "--format=%H", "--", _MIGRATIONS).decode().split():
            tree = _git("ls-tree", "--name-only", found, f"{_MIGRATIONS}/").decode()
            if _newest(tree) == wanted:
                return found, f"{wanted:04}"
    except (subprocess.CalledProcessError, FileNotFoundError):
        pass
    return None


class Earlier:
    """Its checkout, in the environment of the tests."""

    def __init__(self, found: str, folder: Path, env: Mapping[str, str]) -> None:
        """Unpack a commit."""
        with tarfile.open(fileobj=io.BytesIO(_git("archive", found))) as archive:
            archive.extractall(folder, filter="data")
        self.folder = folder
        self.env = {**env, "PYTHONPATH": str(folder)}

    def run(self, *argv: str) -> str:
        """Run a command of Celery's to its good end."""
        command = [sys.executable, "-m", "celery", *argv]
        done = subprocess.run(
            command,
            env={"PATH": "/usr/bin:/bin", **self.env},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def worker(self, options: Sequence[str], directory: Path) -> WorkerProcess:
        """Start a worker, and wait until it consumes."""
        name = unique_name()
        about = ["--hostname", name, "--loglevel", "INFO"]
        command = [sys.executable, "-m", "celery", "-A", "app", "worker", *about, *options]
        made = WorkerProcess(name, command, env=self.env, directory=directory, cwd=self.folder)
        made.start()
        made.wait_ready()
        return made
