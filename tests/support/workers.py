"""Real Celery workers as processes, with what tests do to them."""

from __future__ import annotations

import secrets
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from deploy.local.child import Child
from deploy.local.supervisor import WORKER_READY
from tests.support.forks import Fork, run
from tests.support.service import APP, SERVICE

_POLL_S = 0.02


def worker_command(name: str, app: str = APP, args: Sequence[str] | None = None) -> list[str]:
    """Return the command of a worker of that node name: the Procfile's, or with other arguments."""
    if app == APP and args is None:
        return SERVICE.line("worker", {"WORKER_NAME": name})
    about = ["--hostname", name, "--loglevel", "INFO"]
    return SERVICE.celery("-A", app, "worker", *about, *(args or ()))


def unique_name() -> str:
    """A node name that no other worker has."""
    return f"{secrets.token_hex(4)}@tests"


def migrate(database_url: str) -> None:
    """Run the Procfile's release line on a database."""
    env = SERVICE.environment({"DATABASE_URL": database_url})
    done = run(SERVICE.line("release"), env, SERVICE.folder, 60)
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)


class NotReadyError(RuntimeError):
    """A worker ended before it consumed, or took too long."""

    def __init__(self, worker: WorkerProcess) -> None:
        self.log = worker.logs()
        what = f"ended with {worker.returncode}" if not worker.running else "did not get ready"
        super().__init__(f"The worker {worker.name} {what}:\n{self.log}")


class WorkerProcess:
    """A worker that can be killed, frozen, stopped and started again under its own name."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        directory: Path,
        cwd: Path = SERVICE.folder,
    ) -> None:
        """Describe a worker by its node name; its log goes to ``directory``."""
        self._cwd = cwd
        self.name = name
        self.log = directory / f"{name}.log"
        self._pid_file = directory / f"{name}.pid"
        self._command = command
        self._env = SERVICE.environment(env)
        self._child: Child | None = None
        self._read_from = 0  # where the log of the present life begins

    def start(self) -> None:
        """Start it; :meth:`wait_ready` waits until it consumes."""
        self._read_from = self.log.stat().st_size if self.log.exists() else 0
        self._child = Fork(
            self._command, pid_file=self._pid_file, output=self.log, env=self._env, cwd=self._cwd
        )

    def wait_ready(self, timeout_s: float = 60.0) -> None:
        """Wait until it consumes.

        Raises:
            RuntimeError: it ended, or the time is over; with its log.
        """
        until = time.monotonic() + timeout_s
        while WORKER_READY not in self.life():
            if not self.running or time.monotonic() > until:
                raise NotReadyError(self)
            time.sleep(_POLL_S)

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.returncode is None

    @property
    def pid(self) -> int:
        assert self._child is not None, "not started"
        return self._child.pid

    @property
    def returncode(self) -> int | None:
        """None while it runs; minus the signal's number when a signal ended it."""
        return None if self._child is None else self._child.returncode

    def logs(self) -> str:
        """All that it logged, earlier lives included."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def life(self) -> str:
        """Return what it logged since its last start."""
        if not self.log.exists():
            return ""
        with self.log.open("rb") as file:
            file.seek(self._read_from)
            return file.read().decode(errors="replace")

    def wait_for_log(self, text: str, timeout_s: float = 30.0) -> None:
        """Wait until it logged something, in this life."""
        until = time.monotonic() + timeout_s
        while text not in self.life():
            assert time.monotonic() < until, f"{text!r} is not in the log:\n{self.logs()}"
            time.sleep(_POLL_S)

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        if self._child is not None:
            self._child.send(number)

    def kill(self) -> None:
        """SIGKILL, as a crash or the kernel's memory killer would."""
        if self._child is not None:
            self._child.kill()

    def pause(self) -> None:
        """Freeze it: its heartbeats stop and nothing is closed."""
        self.send(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after :meth:`pause`."""
        self.send(signal.SIGCONT)

    def terminate(self, grace_s: float = 60.0) -> int:
        """Warm shutdown (SIGTERM): finishes what it has. Returns its return code."""
        assert self._child is not None, "not started"
        return self._child.stop(grace_s)

    def restart(self, *, force: bool = False) -> None:
        """Stop (or kill) it, start it under the same name, wait until it consumes."""
        if force:
            self.kill()
        else:
            self.terminate()
        self.start()
        self.wait_ready()

    def close(self) -> None:
        """End it whatever its state; for the end of a test."""
        if self.running:
            self.resume()
            self.send(signal.SIGTERM)
            assert self._child is not None
            self._child.stop(5.0)
