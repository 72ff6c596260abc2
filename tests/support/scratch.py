"""Where tests keep their files: in memory where there is room, since a disk has to be waited for.

What is written here outlives each process that a test kills, and no test outlives the machine.
"""

from __future__ import annotations

import os
import re
import tempfile
from functools import cache
from pathlib import Path

#: Linux has its files in memory, within bounds: a container's are often 64 MiB.
_MEMORY = Path("/dev/shm")
#: Many times what a run of all tests keeps at a time.
_ROOM_BYTES = 6 * 1024**3
_AVAILABLE = re.compile(r"^MemAvailable: +(\d+) kB$", re.MULTILINE)


@cache
def scratch() -> Path:
    """The folder in which tests make theirs: of the memory, or the one of the system."""
    try:
        about = os.statvfs(_MEMORY)
        (available,) = _AVAILABLE.findall(Path("/proc/meminfo").read_text())
    except (OSError, ValueError):
        return Path(tempfile.gettempdir())
    room = min(about.f_bavail * about.f_frsize, int(available) * 1024)
    usable = os.access(_MEMORY, os.W_OK | os.X_OK) and not about.f_flag & os.ST_NOEXEC
    return _MEMORY if usable and room >= _ROOM_BYTES else Path(tempfile.gettempdir())
