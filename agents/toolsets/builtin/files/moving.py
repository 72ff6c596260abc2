"""Tools that move, delete and pack files."""

from __future__ import annotations

import io
import os
import stat
import time
import zipfile
from typing import Annotated, Any, Literal

from pydantic import Field

from agents.tools.base import CallContext
from agents.tools.calls import ToolError
from agents.toolsets.builtin.files.archives import (
    MAX_ARCHIVE_BYTES,
    content,
    members_of,
    opened,
)
from agents.toolsets.builtin.files.reading import Path
from agents.toolsets.builtin.files.root import MAX_FILE_BYTES, TRASH, Root, Spot, parts_of
from agents.toolsets.builtin.files.trees import Walk, within
from agents.toolsets.builtin.files.writing import put
from agents.toolsets.builtin.offer import offer


@offer({"path": "docs/a.txt", "to": "old/a.txt"}, home="root", effects="effect", approve="ask")
def move_file(root: Root, path: Path, to: Path, overwrite: bool = False) -> dict[str, str]:
    """Moves or renames a file or a folder; folders on the way are made."""
    with root.spot(path) as source, root.locked(to, make=True) as target:
        _check_usual(source)
        there = target.stat()
        if there is not None and not (overwrite and stat.S_ISREG(there.st_mode)):
            raise ToolError(f"{to} is there already; overwrite=true replaces a file.")
        _rename(source, target)
    return {"path": to}


@offer({"path": "docs/a.txt"}, home="root", effects="effect", approve="ask")
def delete_file(root: Root, path: Path, *, call: CallContext) -> dict[str, str]:
    """Moves a file or a folder to the trash; move_file brings it back from where this says."""
    name = parts_of(path)[-1:]
    if not name or parts_of(path)[0] == TRASH:
        raise ToolError("The root and what is in the trash are not deleted.")
    to = f"{TRASH}/{call.key.replace('/', '_')[:80]}/{name[0]}"
    with root.spot(path) as source, root.locked(to, make=True) as target:
        _check_usual(source)
        if target.stat() is not None:
            raise ToolError(f"{to} is there already.")
        _rename(source, target)
    return {"trash": to}


@offer({"action": "zip", "archive": "docs.zip", "path": "docs"}, home="root", effects="idempotent")
def archive_files(
    root: Root,
    action: Literal["zip", "unzip", "list"],
    archive: Path,
    path: Annotated[str, Field(max_length=1_000)] = "",
) -> dict[str, Any]:
    """Packs the folder at path into a ZIP, unpacks one there, or lists what it has."""
    if action == "zip":
        return _zip(root, archive, path)
    with opened(root.read(archive, MAX_ARCHIVE_BYTES)) as pack:
        members = members_of(pack)
        if action == "list":
            return {"files": [f"{one.filename} {one.file_size}" for one in members]}
        root.check_room(sum(one.file_size for one in members))
        for one in members:
            where = "/".join([*parts_of(path), one.filename])
            data = content(pack, one)
            with root.locked(where, make=True) as spot:
                put(root, spot, data)
    return {"path": path, "files": len(members)}


def _zip(root: Root, archive: str, path: str) -> dict[str, Any]:
    made, size, count = io.BytesIO(), 0, 0
    walk = Walk(root)
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as pack:
        for one in walk.below(path):
            if one.is_folder or one.path == archive:
                continue
            size, count = size + one.stat.st_size, count + 1
            if size > MAX_ARCHIVE_BYTES:
                raise ToolError(f"Up to {MAX_ARCHIVE_BYTES:,} bytes are packed. Give less.")
            when = time.gmtime(one.stat.st_mtime)[:6]
            info = zipfile.ZipInfo(within(one.path, path), max(when, (1980, 1, 1, 0, 0, 0)))
            info.compress_type = zipfile.ZIP_DEFLATED
            pack.writestr(info, root.read(one.path, MAX_FILE_BYTES))
    if walk.cut:
        raise ToolError("There are too many files. Pack a folder with fewer.")
    with root.locked(archive, make=True) as spot:
        put(root, spot, made.getvalue())
    return {"path": archive, "files": count, "bytes": made.tell()}


def _check_usual(spot: Spot) -> None:
    if (known := spot.stat()) is None:
        raise ToolError(f"There is no {spot.path[:200]}. list_files shows what there is.")
    if not (stat.S_ISREG(known.st_mode) or stat.S_ISDIR(known.st_mode)):
        raise ToolError(f"{spot.path[:200]} is a link or no usual file, and stays.")


def _rename(source: Spot, target: Spot) -> None:
    os.rename(source.name, target.name, src_dir_fd=source.folder, dst_dir_fd=target.folder)


TOOLS = (move_file, delete_file, archive_files)
