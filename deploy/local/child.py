"""One process that we start: in a session of its own, known by a locked pid file."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from celery_agents.errors import ConfigurationError
from deploy.local import locks
from deploy.local.output import Line

_LEFT_S = 5.0  # for processes that notice by themselves that their parent is gone


class Child:
    """A running process of ours.

    It gets its own session, so that Ctrl-C in the terminal reaches the launcher alone, which then
    stops things in order. Its output goes to ``output``: a file, or a function called per line.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        pid_file: Path,
        output: Path | Line,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        user: str | None = None,
    ) -> None:
        """Start the process, under another ``user`` if one is named (root alone can).

        Raises:
            ConfigurationError: the pid file is held by a live process, or the program is missing.
        """
        self._pid_file = pid_file
        lock = locks.take(pid_file)
        if lock is None:
            raise ConfigurationError(f"Process {locks.holder(pid_file)} runs already ({pid_file}).")
        try:
            locks.record(lock, None)
            about = {"output": output, "env": env, "cwd": cwd, "user": user, "lock": lock}
            self._process = self._started(argv, **about)
            locks.record(lock, self._process.pid)
        except FileNotFoundError as error:
            raise ConfigurationError(f"{error.filename}: no such program") from error
        finally:
            os.close(lock)  # the process holds its own copy
        if callable(output):
            assert self._process.stdout is not None
            pump = (self._process.stdout, output)
            threading.Thread(target=_pump, args=pump, daemon=True).start()

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """None while it runs; minus the signal's number when a signal ended it."""
        return self._process.poll()

    def _started(self, argv: Sequence[str], **how: Any) -> subprocess.Popen[bytes]:
        return _start(argv, **how)

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Wait for its end: the return code, or None when it still runs after ``timeout_s``."""
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process itself; nothing happens when it has ended."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """End it, now, and those of its own processes that still hold its pid file."""
        if self.returncode is None or locks.holder(self._pid_file) == self.pid:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        locks.await_free(self._pid_file, self.pid, _LEFT_S)

    def stop(self, grace_s: float, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end; after ``grace_s`` seconds end it by force. Returns its return code."""
        self.send(number)
        self.wait(grace_s)
        self.kill()
        return self._process.wait()


def _start(
    argv: Sequence[str],
    *,
    output: Path | Line,
    env: Mapping[str, str] | None,
    cwd: Path | None,
    user: str | None,
    lock: int,
) -> subprocess.Popen[bytes]:
    group = None if user is None else pwd.getpwnam(user).pw_gid

    def spawn(sink: IO[bytes] | int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            env=None if env is None else dict(env),
            cwd=cwd,
            pass_fds=(lock,),
            start_new_session=True,
            user=user,
            group=group,
            extra_groups=None if user is None else [],
        )

    if callable(output):
        return spawn(subprocess.PIPE)
    with output.open("ab") as file:
        return spawn(file)


def _pump(stream: IO[bytes], output: Line) -> None:
    with stream:
        for line in stream:
            output(line.decode("utf-8", "replace").rstrip("\r\n"))
