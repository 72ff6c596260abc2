"""What a terminal sees of several processes: each line with its name before it."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TextIO

#: Takes one line of a process, without its end.
Line = Callable[[str], None]

_COLOURS = (36, 33, 35, 32, 34)  # cyan, yellow, magenta, green, blue
_lock = threading.Lock()


def prefixed(name: str, index: int, *, width: int, stream: TextIO | None = None) -> Line:
    """A function that prints a line of process ``name``; in colour on a terminal."""
    out = stream or sys.stdout
    label = f"{name:<{width}} |"
    if out.isatty():
        label = f"\033[{_COLOURS[index % len(_COLOURS)]}m{label}\033[0m"

    def show(line: str) -> None:
        # A closed terminal must not keep the processes from being stopped.
        with _lock, suppress(OSError, ValueError):
            out.write(f"{label} {line}\n")
            out.flush()

    return show


def into(path: Path) -> Line:
    """A function that appends lines to a log file."""

    def write(line: str) -> None:
        with _lock, path.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")

    return write
