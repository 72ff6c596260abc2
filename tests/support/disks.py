"""Disks that are full."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def filled(disk: Path) -> Iterator[None]:
    """Nothing more fits on it."""
    rest = disk / "rest"
    with rest.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(4_096)):
            pass
    try:
        yield
    finally:
        rest.unlink()
