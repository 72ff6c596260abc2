"""Waiting for files that have something to read, whatever their numbers are."""

from __future__ import annotations

import select
from collections.abc import Iterable
from typing import Protocol, TypeVar


class HasFileno(Protocol):
    """A file, a pipe or a socket."""

    def fileno(self) -> int:
        """Its descriptor."""
        ...


T = TypeVar("T", bound=HasFileno)


def readable(files: Iterable[T], timeout_s: float | None = None) -> list[T]:
    """Return those that have something to read, once one has; none when the time is over.

    ``select`` would fail on descriptors above the 1024th, which a long run of tests has.
    """
    by_number = {file.fileno(): file for file in files}
    poll = select.poll()
    for number in by_number:
        poll.register(number, select.POLLIN)
    found = poll.poll(None if timeout_s is None else 1000 * timeout_s)
    return [by_number[number] for number, _ in found]
