"""SQLite's transactions stand between forks: no process is forked amid one.

A child inherits SQLite's table of the locks that its process holds: forked amid a transaction, it
would wait for ever for a lock that it believes to hold itself.
"""

from __future__ import annotations

import os
import threading


class Readers:
    """Held by any number of readers at once, or by a fork."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._readers = 0

    def __enter__(self) -> None:
        with self._changed:
            self._readers += 1

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._readers -= 1
            self._changed.notify_all()

    def close(self) -> None:
        """Wait until nobody reads, and let nobody begin."""
        self._changed.acquire()
        while self._readers:
            self._changed.wait()

    def open(self) -> None:
        """Let readers begin again."""
        self._changed.release()


#: Held through each transaction that writes, one after another: SQLite has one writer at a time.
WRITES = threading.RLock()
#: Held through each one that reads; they wait for no writer.
READS = Readers()


def _before() -> None:
    WRITES.acquire()
    READS.close()


def _after() -> None:
    READS.open()
    WRITES.release()


os.register_at_fork(before=_before, after_in_parent=_after, after_in_child=_after)
