"""The worker of a stack: a process that tests may kill, and that ends with them."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from app.layout import qualified
from celery_agents.errors import ConfigurationError

#: Logged by Celery's worker when it consumes.
READY = " ready."
#: Generous: importing takes a second or two on an idle machine.
READY_S = 60.0
_POLL_S = 0.02
_TAIL_LINES = 30
_GRACE_S = 10.0


class StackWorker:
    """One worker at a time, under one name; its log goes on from life to life."""

    def __init__(
        self, argv: Sequence[str], *, env: Mapping[str, str], cwd: Path, log: Path
    ) -> None:
        module = qualified("app.testing.process")
        self._argv = [sys.executable, "-m", module, *argv]
        self._env, self._cwd, self.log = dict(env), cwd, log
        self._process: subprocess.Popen[bytes] | None = None
        self._began = 0  # where the log of this life begins

    @property
    def pid(self) -> int | None:
        """Its process id; None while none runs."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def start(self) -> None:
        """Start it; :meth:`wait_ready` waits until it consumes."""
        self._began = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                self._argv,
                env=self._env,
                cwd=self._cwd,
                stdin=subprocess.PIPE,  # its end tells the worker that we are gone
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches the tests alone
            )

    def wait_ready(self) -> None:
        """Wait until it consumes.

        Raises:
            ConfigurationError: it ended, or does not get ready; with the end of its log.
        """
        until = time.monotonic() + READY_S
        while READY not in self._life():
            if self.pid is None or time.monotonic() > until:
                tail = "\n".join(self._life().splitlines()[-_TAIL_LINES:])
                raise ConfigurationError(f"The worker of the test kit did not start:\n{tail}")
            time.sleep(_POLL_S)

    def kill(self) -> None:
        """End it with SIGKILL, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._over(self._process)

    def stop(self) -> None:
        """End it in order; after ten seconds with SIGKILL."""
        if (process := self._process) is None:
            return
        process.terminate()
        until = time.monotonic() + _GRACE_S
        while process.poll() is None and time.monotonic() < until:
            time.sleep(_POLL_S)
        process.kill()
        self._over(process)

    def _over(self, process: subprocess.Popen[bytes]) -> None:
        process.wait()
        if process.stdin is not None:
            process.stdin.close()
        self._process = None

    def _life(self) -> str:
        with self.log.open("rb") as file:
            file.seek(self._began)
            return file.read().decode(errors="replace")
