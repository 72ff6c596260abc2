"""The one folder that tools of files see.

A path is walked part by part, each opened below the one before by its descriptor and without
following links. So no name, link or folder that is swapped meanwhile leads out: what is opened is
what was looked at.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from agents.tools.calls import ToolError

#: What is deleted goes there.
TRASH = ".trash"
#: Bytes of a file that a tool reads or writes as a whole.
MAX_FILE_BYTES = 10_000_000
_MAX_NAME_BYTES, _MAX_PARTS = 255, 40
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
#: Without a wait for whoever writes to a pipe.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Spot(NamedTuple):
    """A place below the root: the descriptor of its folder, and its name there."""

    folder: int
    name: str
    path: str

    def stat(self) -> os.stat_result | None:
        """The kind and size of it; of a link the link's. None: nothing is there."""
        with suppress(FileNotFoundError):
            return os.stat(self.name, dir_fd=self.folder, follow_symlinks=False)
        return None


class Root:
    """A folder below which files are read and written.

    Args:
        path: of the folder, which exists; it may be a link itself.
        quota_bytes: what all files below it may have together; None: what the disk has.
    """

    def __init__(self, path: Path, quota_bytes: int | None = None) -> None:
        self.path = path
        self.quota_bytes = quota_bytes

    @contextmanager
    def folder(self, path: str, *, make: bool = False) -> Iterator[int]:
        """The descriptor of a folder; with ``make``, those that are missing are made.

        Raises:
            ToolError: there is none, or a link leads there.
        """
        with told(path):
            here = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                for part in parts_of(path):
                    if make:
                        with suppress(FileExistsError):
                            os.mkdir(part, dir_fd=here)
                    below = os.open(part, _FOLDER, dir_fd=here)
                    os.close(here)
                    here = below
                yield here
            finally:
                os.close(here)

    @contextmanager
    def spot(self, path: str, *, make: bool = False) -> Iterator[Spot]:
        """The place of a file or folder, which need not exist. Raises as :meth:`folder`."""
        *above, name = parts_of(path) or [""]
        if not name:
            raise ToolError("Give the path of a file below the root.")
        with self.folder("/".join(above), make=make) as folder, told(path):
            yield Spot(folder, name, path)

    @contextmanager
    def locked(self, path: str, *, make: bool = False) -> Iterator[Spot]:
        """The same, while no other call of a tool changes something in that folder."""
        with self.spot(path, make=make) as spot:
            lock(spot.folder)
            yield spot

    def read(self, path: str, most: int = MAX_FILE_BYTES) -> bytes:
        """The bytes of a file.

        Raises:
            ToolError: it is none, or has more than so many.
        """
        with self.spot(path) as spot:
            return read_at(spot, most)

    def check_room(self, more: int) -> None:
        """Look whether there is room for so many bytes more.

        Raises:
            ToolError: there is not.
        """
        if self.quota_bytes is None:
            return
        with self.folder("") as top:
            used = sum(_sizes(top))
        if used + more > self.quota_bytes:
            raise ToolError(
                f"The folder may have {self.quota_bytes:,} bytes and has {used:,}. "
                f"Delete files, also of {TRASH}."
            )


def lock(folder: int) -> None:
    """Wait until no other call changes something in a folder; closing the descriptor ends it."""
    fcntl.flock(folder, fcntl.LOCK_EX)


def parts_of(path: str) -> list[str]:
    """The parts of a path below the root; none of the root itself.

    Raises:
        ToolError: it leads out, or no file can be named so.
    """
    if path in {"", "."}:
        return []
    parts = path.removesuffix("/").split("/")
    if path.startswith("/") or "\\" in path:
        raise ToolError("Paths are relative to the root, with /: docs/a.txt.")
    if any(part in {"", ".", ".."} for part in parts):
        raise ToolError(f"{path[:200]!r} leads out, or has an empty part. Give docs/a.txt.")
    if "\0" in path or any(_size(part) > _MAX_NAME_BYTES for part in parts):
        raise ToolError(f"A name has up to {_MAX_NAME_BYTES} bytes, and no zero among them.")
    if len(parts) > _MAX_PARTS:
        raise ToolError(f"A path has up to {_MAX_PARTS} parts.")
    return parts


def _size(name: str) -> int:
    try:
        return len(name.encode())
    except UnicodeEncodeError:
        raise ToolError(f"{name[:200]!r} is no name of a file.") from None


@contextmanager
def told(path: str) -> Iterator[None]:
    """Errors of the file system in words that help a model."""
    try:
        yield
    except OSError as error:
        shown = path[:200] or "the root"
        known = {
            errno.ENOENT: f"There is no {shown}. list_files shows what there is.",
            errno.ELOOP: f"{shown} is, or goes by, a link. Links are not followed.",
            errno.ENOTDIR: f"{shown} goes by a link or a file, where a folder has to be.",
            errno.EISDIR: f"{shown} is a folder.",
            errno.EEXIST: f"{shown} is there already.",
            errno.ENOTEMPTY: f"{shown} is a folder that is not empty.",
            errno.ENOSPC: "The disk is full.",
            errno.EACCES: f"The worker may not open {shown}.",
            errno.ENXIO: f"{shown} is no usual file.",
        }
        text = known.get(error.errno or 0, f"{shown}: {error.strerror or error}.")
        raise ToolError(text) from None


def read_at(spot: Spot, most: int = MAX_FILE_BYTES) -> bytes:
    """The bytes of the file at a place. Raises as :meth:`Root.read`."""
    file = os.open(spot.name, _READ, dir_fd=spot.folder)
    with os.fdopen(file, "rb") as opened:
        found = os.fstat(file)
        if stat.S_ISDIR(found.st_mode):
            raise ToolError(f"{spot.path[:200]} is a folder: list_files shows what it has.")
        if not stat.S_ISREG(found.st_mode):
            raise ToolError(f"{spot.path[:200]} is no usual file.")
        if found.st_nlink > 1:
            raise ToolError(f"{spot.path[:200]} has another name, maybe outside; it is not read.")
        data = opened.read(most + 1)
    if len(data) > most:
        raise ToolError(f"{spot.path[:200]} has more than {most:,} bytes.")
    return data


def entries(folder: int) -> list[os.DirEntry[str]]:
    """The entries of a folder, by name."""
    with os.scandir(folder) as found:
        return sorted(found, key=lambda entry: entry.name)


@contextmanager
def below(folder: int, name: str) -> Iterator[int | None]:
    """The descriptor of a folder in another one; None when it has gone, or is one no longer."""
    try:
        inner = os.open(name, _FOLDER, dir_fd=folder)
    except OSError:
        yield None
        return
    try:
        yield inner
    finally:
        os.close(inner)


def _sizes(folder: int) -> Iterator[int]:
    for entry in entries(folder):
        if entry.is_dir(follow_symlinks=False):
            with below(folder, entry.name) as inner:
                if inner is not None:
                    yield from _sizes(inner)
        else:
            with suppress(FileNotFoundError):  # it went meanwhile
                yield entry.stat(follow_symlinks=False).st_size
