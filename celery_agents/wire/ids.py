"""Ids that begin with the time, so that rows which are made together stand together.

Random ids spread new rows over the whole of the journal's indexes: in a large one each touches
pages of its own, which have to be read, logged and written back.
"""

from __future__ import annotations

import os
import time
import uuid

_MS = 1_000_000  # nanoseconds


def new_id() -> str:
    """A UUID of version 7 (RFC 9562, with the fraction of the millisecond in ``rand_a``)."""
    ms, ns = divmod(time.time_ns(), _MS)
    rest = int.from_bytes(os.urandom(8), "big") & (1 << 62) - 1
    value = (ms & (1 << 48) - 1) << 80 | 7 << 76 | (ns << 12) // _MS << 64 | 2 << 62 | rest
    text = f"{value:032x}"  # a UUID of uuid.py costs as much as all of the rest
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def begun_at(made: str) -> float | None:
    """Return when an id was made; of a member, when its run's was. None: the id does not say."""
    try:
        read = uuid.UUID(made)
    except ValueError:
        return None
    return (read.int >> 80) / 1000 if read.version in {7, 8} else None
