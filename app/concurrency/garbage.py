"""Collections of garbage: seldom, in processes that hold many living objects."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

#: The first generation after so many new objects, the next ones after so many collections. A
#: thousand steps under way are a hundred thousand living objects, and Python's defaults (700, 10,
#: 10) look through them again and again: it was half of a worker's time, and a tenth of the API's.
GARBAGE = (10_000, 20, 50)


@contextmanager
def no_collections() -> Iterator[None]:
    """Collect no garbage for as long as the block: importing makes next to none.

    What is imported is looked through three times otherwise, a sixth of the CPU of a start.
    """
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def spare_garbage_collection() -> None:
    """Exempt what a process has imported at its start from collection: it stays anyway."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GARBAGE)
