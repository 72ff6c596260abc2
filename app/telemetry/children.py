"""Numbers of prefork children, told to their parent, which answers for all of them.

A pair of sockets that is made before the fork: children write differences, the parent adds them
up. So no number goes back when a child is replaced, and nothing of a dead one is kept.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
import time
from collections.abc import Callable

from app.telemetry.metrics import Metrics
from celery_agents.noted import counts, note

log = logging.getLogger(__name__)

#: A child tells its numbers so often: below what Prometheus' scrapes are apart.
TELL_S = 1.0
#: A child that has told nothing for so long runs nothing that anybody knows of.
SILENT_S = 5.0
#: Numbers of one datagram: some 100 bytes each, of the 200 kB that a socket takes.
_PORTION = 300
_BYTES = 1 << 20


class Children:
    """The channel between a worker and its prefork children. Made before these are."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._own = os.getpid()
        self._in, self._out = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._out.settimeout(TELL_S)
        self._running: dict[int, tuple[int, bool, float]] = {}
        self._stopped = threading.Event()
        self._read: Callable[[], tuple[Metrics, int, bool]] | None = None

    # -- in the parent

    def listen(self, metrics: Metrics) -> None:
        """Add up what children tell, in a thread."""
        threading.Thread(
            target=self._hear, args=(metrics,), name="agents-children", daemon=True
        ).start()

    def _hear(self, metrics: Metrics) -> None:
        while (said := self._in.recv(_BYTES)) and os.getpid() == self._own:
            told = json.loads(said)
            if "end" in told:
                return
            self._running[told["pid"]] = (told["running"], told["writes"], self._clock())
            metrics.add(told["counted"])

    def close(self) -> None:
        """End the thread that listens."""
        self._out.send(json.dumps({"end": True}).encode())

    @property
    def running(self) -> int:
        """The number of steps that children run."""
        return sum(running for running, _, _ in self._heard())

    @property
    def writes(self) -> bool:
        """True unless the journal refused the last heartbeat of some child."""
        return all(writes for _, writes, _ in self._heard())

    def _heard(self) -> list[tuple[int, bool, float]]:
        since = self._clock() - SILENT_S
        return [told for told in list(self._running.values()) if told[2] >= since]

    # -- in a child

    def begin(self, read: Callable[[], tuple[Metrics, int, bool]]) -> None:
        """Tell the parent again and again, in a thread; ``read`` gives what :meth:`tell` tells."""
        self._read = read
        threading.Thread(target=self._keep_telling, name="agents-telling", daemon=True).start()

    def end(self) -> None:
        """Tell the parent what the last steps of this process have added."""
        self._stopped.set()
        self._tell()

    def tell(self, metrics: Metrics, running: int, *, writes: bool) -> None:
        """Tell what was counted since the last time; what is not taken is told the next time."""
        metrics.note(counts())
        told = metrics.take()
        about = {"pid": os.getpid(), "running": running, "writes": writes}
        for start in range(0, max(len(told), 1), _PORTION):
            portion = told[start : start + _PORTION]
            try:
                self._out.send(json.dumps({**about, "counted": portion}).encode())
            except OSError as error:
                metrics.add(told[start:])
                note(log, "metrics_tell", "The parent was not told its numbers", error=error)
                return

    def _tell(self) -> None:
        if self._read is not None:
            metrics, running, writes = self._read()
            self.tell(metrics, running, writes=writes)

    def _keep_telling(self) -> None:
        while not self._stopped.wait(TELL_S):
            self._tell()
