"""CPU time that a machine's other work, and the garbage of other tests, have no part in."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import Any


def cpu_s(work: Callable[[], Any], within_s: float = 0.0, *, times: int = 5) -> float:
    """Seconds of CPU that the work takes in this thread: the least of so many times.

    No more of them than it takes to be ``within_s``. What others left behind is not collected on
    this work's time.
    """
    least = float("inf")
    for _ in range(times):
        gc.disable()
        try:
            began = time.thread_time()
            work()
            least = min(least, time.thread_time() - began)
        finally:
            gc.enable()
        if least <= within_s:
            break
    return least


def soon(work: Callable[[], Any], within_s: float) -> Any:
    """Return what the work gives, which takes less of this thread's CPU than that."""
    began = time.thread_time()
    found = work()
    if time.thread_time() - began >= within_s:  # its own doing, or the collector's?
        assert cpu_s(work, within_s) < within_s
    return found
