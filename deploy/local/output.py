"""Where lines go: the launcher's own to the terminal, those of the processes to their log files."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

#: Takes one line of a process, without its end.
Line = Callable[[str], None]

#: A log file that is longer becomes the older of two.
LOG_BYTES = 16 * 1024 * 1024
_lock = threading.Lock()


def say(line: str) -> None:
    """Print a line. A closed terminal must not keep the processes from being stopped."""
    with _lock, suppress(OSError, ValueError):
        print(line, flush=True)


def into(path: Path, most_bytes: int = LOG_BYTES) -> Line:
    """A function that appends lines to a log file; beside it stands the one before, ``.1``."""

    def write(line: str) -> None:
        with _lock:
            with path.open("a", encoding="utf-8") as file:
                file.write(f"{line}\n")
                size = file.tell()
            if size > most_bytes:
                path.replace(path.with_name(f"{path.name}.1"))

    return write
