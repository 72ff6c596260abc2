"""ZIP files of others, whose declared sizes are held against limits before anything is unpacked."""

from __future__ import annotations

import io
import lzma
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from agents.tools.calls import ToolError
from agents.toolsets.builtin.files.root import MAX_FILE_BYTES, parts_of

MAX_ARCHIVE_BYTES = 30_000_000
_MAX_MEMBERS, _MAX_INDEX_BYTES = 5_000, 1_000_000
#: The record at a ZIP's end, and the most bytes that it and its comment have.
_END, _END_BYTES = b"PK\x05\x06", 22 + 65_535
#: ZIP64's own record, with what says where it is; both stand just before the other.
_END64, _END64_BYTES, _LOCATOR, _LOCATOR_BYTES = b"PK\x06\x06", 56, b"PK\x06\x07", 20
#: Of these: the place of the record, and its members with the bytes of their index.
_LED, _SIZES = struct.Struct("<Q"), struct.Struct("<QQ")

_BROKEN = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, ValueError),
    *(NotImplementedError, RuntimeError, EOFError, OSError),
)


@contextmanager
def opened(data: bytes) -> Iterator[zipfile.ZipFile]:
    """A ZIP file, open for reading.

    Raises:
        ToolError: it is none, is broken, or its index is too long to be read.
    """
    end = data.rfind(_END, max(0, len(data) - _END_BYTES))
    if end < 0 or len(data) < end + 22:
        raise ToolError("This is no ZIP file.")
    members, index_bytes = struct.unpack_from("<HI", data, end + 10)
    if data[max(0, end - _LOCATOR_BYTES) : end].startswith(_LOCATOR):
        # What ZIP64's record says counts, whatever the other one does. Some of Python's versions
        # read the one just before, or none, others that to which the locator leads.
        before, led = end - _LOCATOR_BYTES - _END64_BYTES, _LED.unpack_from(data, end - 12)[0]
        told = [_SIZES.unpack_from(data, at + 32) for at in (before, led) if _is_end64(data, at)]
        if not told:
            raise ToolError("The ZIP file cannot be read: its end is broken.")
        if not _is_end64(data, before):
            told.append((members, index_bytes))
        members, index_bytes = map(max, zip(*told, strict=True))
    if members > _MAX_MEMBERS or index_bytes > _MAX_INDEX_BYTES:
        raise ToolError(f"The ZIP file has more than {_MAX_MEMBERS:,} members.")
    with _read():
        pack = zipfile.ZipFile(io.BytesIO(data))
    with pack:
        yield pack


def content(pack: zipfile.ZipFile, member: zipfile.ZipInfo | str) -> bytes:
    """The bytes of a file in a ZIP file.

    Raises:
        ToolError: it is broken.
    """
    with _read():
        return pack.read(member)


@contextmanager
def _read() -> Iterator[None]:
    """Tell of errors of reading alone: what others do with what was read fails on its own."""
    try:
        yield
    except _BROKEN as error:
        raise ToolError(f"The ZIP file cannot be read: {error}.") from None


def _is_end64(data: bytes, at: int) -> bool:
    return 0 <= at <= len(data) - _END64_BYTES and data.startswith(_END64, at)


def members_of(pack: zipfile.ZipFile, most: int = MAX_ARCHIVE_BYTES) -> list[zipfile.ZipInfo]:
    """The files in a ZIP file. Reading one gives no more bytes than it says that it has.

    Raises:
        ToolError: a name leads out, one is a link, or they have too many bytes in all.
    """
    found = [one for one in pack.infolist() if not one.is_dir()]
    for one in found:
        parts_of(one.filename)
        if stat.S_ISLNK(one.external_attr >> 16):
            raise ToolError(f"{one.filename[:200]} in the ZIP file is a link. Nothing was done.")
        if one.file_size > MAX_FILE_BYTES:
            raise ToolError(f"{one.filename[:200]} has more than {MAX_FILE_BYTES:,} bytes.")
    if sum(one.file_size for one in found) > most:
        raise ToolError(f"Unpacked, the ZIP file has more than {most:,} bytes. Nothing was done.")
    return found
