"""CPU seconds and memory of a tree of processes, by the operating system's accounts."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import psutil

_EVERY_S = 0.2


@dataclass(frozen=True)
class Usage:
    """CPU seconds, and the most memory that was seen.

    The memory of one process is its resident size; that of several is a sum in which a page that
    some share (after a fork) is divided between them, where the system tells (Linux).
    """

    cpu_s: float = 0.0
    peak_mb: float = 0.0


class Meter:
    """Watches processes with all their children until it is closed."""

    def __init__(self, pids: Sequence[int]) -> None:
        self._roots = [psutil.Process(pid) for pid in pids]
        self._began = 0.0
        self._peak_mb = 0.0
        self.usage = Usage()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def begin(self) -> None:
        """Forget what was used so far."""
        self._began = self._cpu()
        self._peak_mb = 0.0

    def end(self) -> None:
        """Nothing after this counts."""
        cpu_s = self._cpu() - self._began
        self.close()
        self.usage = Usage(cpu_s=cpu_s, peak_mb=self._peak_mb)

    def close(self) -> None:
        """Look a last time and stop watching."""
        if not self._done.is_set():
            self._look()
            self._done.set()
            self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(_EVERY_S):
            self._look()

    def _look(self) -> None:
        tree = self._tree()
        size = 0
        for process in tree:
            with suppress(psutil.Error):
                size += process.memory_info().rss if len(tree) == 1 else _shared_size(process)
        self._peak_mb = max(self._peak_mb, size / 1024**2)

    def _cpu(self) -> float:
        used = 0.0
        for process in self._tree():
            with suppress(psutil.Error):
                times = process.cpu_times()
                used += times.user + times.system
        return used

    def _tree(self) -> list[psutil.Process]:
        found = list(self._roots)
        for process in self._roots:
            with suppress(psutil.Error):
                found += process.children(recursive=True)
        return found


def _shared_size(process: psutil.Process) -> int:
    full = process.memory_full_info()
    return int(getattr(full, "pss", full.rss))
