"""Files written whole or not at all."""

from __future__ import annotations

import hashlib
import os
import stat
from contextlib import suppress
from uuid import uuid4

from agents.tools.calls import ToolError
from agents.toolsets.builtin.files.root import MAX_FILE_BYTES, Root, Spot

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
#: Begins the name of a file that is not whole yet.
UNFINISHED = ".unfinished-"


def put(root: Root, spot: Spot, data: bytes) -> None:
    """Write a file, in the place of one that may be there: who reads it sees one or the other.

    Raises:
        ToolError: there is something else than a file, or no room.
    """
    if len(data) > MAX_FILE_BYTES:
        raise ToolError(f"A file has up to {MAX_FILE_BYTES:,} bytes here.")
    there = spot.stat()
    if there is not None and not stat.S_ISREG(there.st_mode):
        raise ToolError(f"{spot.path[:200]} is a folder or a link, and is not written over.")
    root.check_room(len(data))
    name = f"{UNFINISHED}{uuid4().hex}"
    mode = 0o644 if there is None else stat.S_IMODE(there.st_mode)
    file = os.open(name, _NEW, mode, dir_fd=spot.folder)
    try:
        with os.fdopen(file, "wb") as opened:
            opened.write(data)
            opened.flush()
            os.fsync(file)
        os.rename(name, spot.name, src_dir_fd=spot.folder, dst_dir_fd=spot.folder)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=spot.folder)
        raise
    os.fsync(spot.folder)


def digest_of(data: bytes) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()
