"""Collections of garbage: seldom, in processes that hold many living objects."""

from __future__ import annotations

import gc

#: The first generation after so many new objects, the next ones after so many collections. A
#: thousand steps under way are a hundred thousand living objects, and Python's defaults (700, 10,
#: 10) look through them again and again: it was half of a worker's time, and a tenth of the API's.
GARBAGE = (10_000, 20, 50)


def spare_garbage_collection() -> None:
    """Exempt what a process has imported at its start from collection: it stays anyway."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GARBAGE)
