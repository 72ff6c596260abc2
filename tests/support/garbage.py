"""Objects that only the collector of cycles frees: at full load that takes a worker's time."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_OURS = ("app.", "agents.", "celery_agents.", "celery.", "kombu.", "tests.")


@contextmanager
def cycles() -> Iterator[list[str]]:
    """List the types, of ours and of Celery's, that the block leaves in cycles."""
    found: list[str] = []
    gc.collect()
    gc.freeze()  # what other tests have left is not looked through again
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        yield found
        gc.collect()
        names = (f"{type(thing).__module__}.{type(thing).__qualname__}" for thing in gc.garbage)
        found += sorted(name for name in names if name.startswith(_OURS))
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
