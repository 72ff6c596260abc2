"""Ports that tests give to servers, which nobody else takes before or while those are down."""

from __future__ import annotations

import fcntl
import os
import random
import tempfile
from pathlib import Path
from typing import IO

from deploy.local.servers import is_free

#: Below those from which systems choose by themselves (Linux: 32768, IANA: 49152).
CHOICE = range(20_000, 32_000)

_FOLDER = Path(tempfile.gettempdir()) / f"celery-agents-ports-{os.getuid()}"
#: One open and locked file a port: the system lets go of it with this process.
_held: list[IO[bytes]] = []


def free_port() -> int:
    """Reserve a port of the loopback interface for this process, on which nobody listens."""
    _FOLDER.mkdir(mode=0o700, exist_ok=True)
    for port in random.SystemRandom().sample(CHOICE, len(CHOICE)):
        if _reserve(port):
            return port
    raise RuntimeError(f"No port of {CHOICE} is free.")


def _reserve(port: int) -> bool:
    file = (_FOLDER / str(port)).open("wb")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return False
    if is_free(port):
        _held.append(file)
        return True
    file.close()
    return False
