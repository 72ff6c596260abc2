"""Locks of running processes: pid files that are locked for as long as their process lives.

The lock (``flock``) belongs to an open file that the started process inherits. The kernel frees it
when the last process that holds it is gone, however it ended; so a pid in a file that is still
locked is that of a live process of ours, and never a stranger that got the same number.
"""

from __future__ import annotations

import fcntl
import os
import signal
import time
from contextlib import suppress
from pathlib import Path

from celery_agents.errors import ConfigurationError

_POLL_S = 0.05
_TAKE_ATTEMPTS = 5
_LOOK_S = 0.01
_UNKNOWN = -1  # held, and no pid was written: its launcher died between the two


def take(path: Path) -> int | None:
    """An open, locked descriptor of the file, or None while a process holds it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    for _ in range(_TAKE_ATTEMPTS):  # somebody may be looking who holds it, for an instant
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_LOOK_S)
        else:
            return descriptor
    os.close(descriptor)
    return None


def record(descriptor: int, pid: int | None) -> None:
    """Write the holder's pid into a file that :func:`take` locked; None empties it."""
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, b"" if pid is None else f"{pid}\n".encode(), 0)


def holder(path: Path) -> int | None:
    """The pid in a locked file (-1 when it holds none); None when nobody holds the lock."""
    if not path.exists():
        return None
    with path.open(encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            text = file.read().strip()
            return int(text) if text.isdigit() else _UNKNOWN
    return None


def end_leftover(path: Path, *, grace_s: float = 5.0) -> int | None:
    """End the process group that a crashed launcher left behind; its pid, or None if none runs.

    The group leader is asked with SIGTERM; what lives after ``grace_s`` seconds gets SIGKILL.
    """
    pid = holder(path)
    if pid is None:
        return None
    if pid == _UNKNOWN:
        raise ConfigurationError(f"An unknown process holds {path}; end it first (see fuser).")
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    if not await_free(path, pid, grace_s):
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        if not await_free(path, pid, grace_s):
            raise ConfigurationError(f"Process {pid} of an earlier start does not end ({path}).")
    return pid


def await_free(path: Path, pid: int, timeout_s: float) -> bool:
    """Wait until ``pid`` and its children hold the file no more; False after ``timeout_s``."""
    until = time.monotonic() + timeout_s
    while holder(path) == pid:
        if time.monotonic() > until:
            return False
        time.sleep(_POLL_S)
    return True
