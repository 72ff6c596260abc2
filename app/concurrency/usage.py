"""The memory and the processors that this process uses."""

from __future__ import annotations

import os
import resource
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

#: Seconds below which processors are not counted anew: clocks of processes are coarse.
_LEAST_S = 0.5
_STATM = Path("/proc/self/statm")


class Consumption(NamedTuple):
    """Memory and processors of one process."""

    memory_bytes: int
    #: Processors that were busy for it since the look before; 1.0 is one whole.
    cores: float


class ProcessUsage:
    """Looks at its own process; the clocks are in seconds."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        cpu: Callable[[], float] = time.process_time,
        memory: Callable[[], int] | None = None,
    ) -> None:
        self._clock, self._cpu, self._memory = clock, cpu, memory or memory_bytes
        self._at, self._used_s = clock(), cpu()
        self._cores = 0.0
        self._lock = threading.Lock()

    def take(self) -> Consumption:
        """Return the memory in use now, and the mean of processors since the look before."""
        with self._lock:
            at, used_s = self._clock(), self._cpu()
            if at - self._at >= _LEAST_S:
                self._cores = max(used_s - self._used_s, 0.0) / (at - self._at)
                self._at, self._used_s = at, used_s
            return Consumption(self._memory(), round(self._cores, 3))


def memory_bytes() -> int:
    """Bytes in memory now; where the system does not say that, the most that there ever were."""
    try:
        return int(_STATM.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):  # no Linux
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
