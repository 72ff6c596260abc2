"""The worker of a stack: a process that tests may kill, and that ends with them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from app.layout import qualified
from celery_agents.errors import ConfigurationError

#: Logged by Celery's worker when it consumes.
READY = " ready."
#: Generous: importing takes a second or two on an idle machine.
READY_S = 60.0
_POLL_S = 0.02
_TAIL_LINES = 30
_TAIL_LENGTH = 1_500
_GRACE_S = 10.0


class StackWorker:
    """One worker at a time, under one name; its log goes on from life to life."""

    def __init__(self, *, env: Mapping[str, str], cwd: Path, log: Path) -> None:
        self._env, self._cwd, self.log = dict(env), cwd, log
        self._forking: subprocess.Popen[bytes] | None = None
        self._pids = -1  # where the process that forks tells of workers
        self._pid: int | None = None
        self._began = 0  # where the log of this life begins
        self._lived = False  # whether the process that forks has been told to

    @property
    def pid(self) -> int | None:
        """Its process id; None while none runs."""
        if self._pid is not None and not _runs(self._pid):
            self._pid = None
        return self._pid

    def preload(self) -> None:
        """Begin to import what it needs; that takes longer than all else of its start."""
        if self._forking is None:
            self._lived, self._began = False, self._log_size()
            self._forking = self._preloading()

    def start(self, argv: Sequence[str], env: Mapping[str, str]) -> None:
        """Start it with these variables; :meth:`wait_ready` waits until it consumes."""
        self.preload()
        if self._lived:  # the log of the first life begins with what is imported for it
            self._began = self._log_size()
        self._lived = True
        assert self._forking is not None
        assert self._forking.stdin is not None
        with suppress(BrokenPipeError):  # it has ended already: whoever waits reads why
            self._forking.stdin.write(json.dumps([[*argv], dict(env)]).encode() + b"\n")
            self._forking.stdin.flush()

    def wait_ready(self) -> None:
        """Wait until it consumes.

        Raises:
            ConfigurationError: it ended, or does not get ready; with the end of its log.
        """
        told = os.read(self._pids, 32).split()  # nothing, if the process that forks has ended
        self._pid = int(told[-1]) if told else None
        until = time.monotonic() + READY_S
        while READY not in self._life():
            if self.pid is None or time.monotonic() > until:
                # Messages of errors are cut at their end, and the end of a log says why.
                tail = "\n".join(self._life().splitlines()[-_TAIL_LINES:])[-_TAIL_LENGTH:]
                raise ConfigurationError(f"The worker of the test kit did not start:\n{tail}")
            time.sleep(_POLL_S)

    def kill(self) -> None:
        """End it with SIGKILL, as a crash would."""
        self._end(signal.SIGKILL, READY_S)

    def stop(self) -> None:
        """End it in order; after ten seconds with SIGKILL."""
        self._end(signal.SIGTERM, _GRACE_S)
        self.kill()
        if (forking := self._forking) is None:
            return
        assert forking.stdin is not None
        with suppress(BrokenPipeError):  # it has ended already, and has not read all
            forking.stdin.close()
        forking.wait()
        os.close(self._pids)
        self._forking = None

    def _preloading(self) -> subprocess.Popen[bytes]:
        self._pids, told = os.pipe()
        module = qualified("app.testing.process")
        try:
            with self.log.open("ab") as log:
                return subprocess.Popen(  # noqa: S603 - our own module
                    [sys.executable, "-m", module, str(told)],
                    env=self._env,
                    cwd=self._cwd,
                    stdin=subprocess.PIPE,  # its end tells that we are gone
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    pass_fds=(told,),
                    start_new_session=True,  # Ctrl-C reaches the tests alone
                )
        finally:
            os.close(told)

    def _end(self, number: signal.Signals, wait_s: float) -> None:
        until = time.monotonic() + wait_s
        if (pid := self.pid) is not None:
            os.kill(pid, number)
        while self.pid is not None and time.monotonic() < until:
            time.sleep(_POLL_S)

    def _log_size(self) -> int:
        return self.log.stat().st_size if self.log.exists() else 0

    def _life(self) -> str:
        with self.log.open("rb") as file:
            file.seek(self._began)
            return file.read().decode(errors="replace")


def _runs(pid: int) -> bool:
    """Return whether a process of ours runs; one that has ended is no zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
