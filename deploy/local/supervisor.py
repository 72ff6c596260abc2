"""Services that are kept running: one that ends is started again, with backoff."""

from __future__ import annotations

import signal
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

from celery_agents.errors import ConfigurationError
from deploy.local import locks
from deploy.local.child import Child
from deploy.local.output import Line
from deploy.local.state import ROOT

#: What Celery's worker logs when it consumes.
WORKER_READY = " ready."
_GOOD_LIFE_S = 10.0  # who lived longer, or was ready, starts again at once
_FIRST_DELAY_S = 0.1
_MAX_DELAY_S = 10.0
_DEATHS_BEFORE_READY = 3  # then waiting for it is pointless
_TAIL_LINES = 30
_TOLD_MAX = 1_500  # characters of them in an error


def restart_delay_s(quick_deaths: int) -> float:
    """Seconds before the next start after that many deaths in a row soon after the start."""
    return min(_MAX_DELAY_S, _FIRST_DELAY_S * 2.0 ** min(quick_deaths, 30))


class Service:
    """A command that is kept running until :meth:`stop`."""

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        pid_file: Path,
        output: Line,
        report: Line,
        ready_text: str | None = None,
        cwd: Path = ROOT,
    ) -> None:
        """Describe a service; ``output`` takes its lines, ``report`` what happens to it."""
        self.name = name
        self.tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self._argv, self._env, self._cwd, self._pid_file = argv, env, cwd, pid_file
        self._output, self._report, self._ready_text = output, report, ready_text
        self._changed = threading.Condition()
        self._child: Child | None = None
        self._ready = self._stopping = self._asked = False
        self._deaths = 0  # in a row, soon after the start
        self._keeper = threading.Thread(target=self._keep, name=f"keep-{name}", daemon=True)

    def start(self) -> None:
        """Start it and keep it running. One that a crashed launcher left is ended first.

        Raises:
            ConfigurationError: the program is missing, or such a process does not end.
        """
        locks.end_leftover(self._pid_file)
        self._spawn()
        self._keeper.start()

    @property
    def pid(self) -> int | None:
        """The process that runs now; None between an end and the next start."""
        child = self._child
        return None if child is None or child.returncode is not None else child.pid

    def wait_ready(self, timeout_s: float = 60.0) -> None:
        """Wait until it said that it is ready (since its last start).

        Raises:
            ConfigurationError: it ended again and again, or the time is over; with its last lines.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: self._ready or self._deaths >= _DEATHS_BEFORE_READY, timeout_s
            )
            if self._ready:
                return
        reason = "keeps ending" if self._deaths else f"is not ready after {timeout_s:.0f} s"
        told = f"The {self.name} {reason}. Its last lines:\n"
        # An error's text is cut at its end, where the reason stands.
        raise ConfigurationError(told + self.last_lines()[-_TOLD_MAX:])

    def last_lines(self) -> str:
        """The end of its output."""
        return "\n".join(list(self.tail))

    def restart(self, *, grace_s: float = 60.0) -> None:
        """Stop it gracefully and start it anew. Returns when the new process runs."""
        with self._changed:
            before, self._asked = self._child, True
        if before is not None:
            before.stop(grace_s)
        with self._changed:
            self._changed.wait_for(lambda: self._child is not before or self._stopping)

    def ask_stop(self) -> None:
        """Begin to stop (SIGTERM: a worker finishes what it has) without waiting."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._child is not None:
            self._child.send(signal.SIGTERM)

    def stop(self, *, grace_s: float) -> None:
        """Stop for good: gracefully for ``grace_s`` seconds, then by force."""
        if not self._stopping:
            self.ask_stop()
        if self._child is not None:
            self._child.wait(grace_s)
            self._child.kill()

    def kill(self) -> None:
        """Stop for good, by force, now."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._child is not None:
            self._child.kill()

    def _spawn(self) -> Child | None:
        with self._changed:
            if self._stopping:
                return None
            self._ready = self._asked = False
            self._child = Child(
                self._argv,
                pid_file=self._pid_file,
                output=self._heard,
                env=self._env,
                cwd=self._cwd,
            )
            self._changed.notify_all()
            return self._child

    def _heard(self, line: str) -> None:
        self.tail.append(line)
        self._output(line)
        if self._ready_text is not None and not self._ready and self._ready_text in line:
            with self._changed:
                self._ready = True
                self._changed.notify_all()

    def _keep(self) -> None:
        child = self._child
        while child is not None:
            started = time.monotonic()
            code = child.wait()
            child.kill()  # what it started and left behind
            with self._changed:
                if self._stopping:
                    return
                quick = not self._ready and time.monotonic() - started < _GOOD_LIFE_S
                self._deaths = self._deaths + 1 if quick and not self._asked else 0
                delay = 0.0 if self._asked else restart_delay_s(self._deaths)
                self._ready = False
                self._changed.notify_all()
                if not self._asked:
                    self._report(f"{self.name} {_ended(code)}; starting it again")
                self._changed.wait_for(lambda: self._stopping, delay)
            child = self._spawn()


def _ended(code: int | None) -> str:
    if code is not None and code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"ended with code {code}"
