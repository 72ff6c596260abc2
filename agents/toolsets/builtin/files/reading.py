"""Tools that look at files."""

from __future__ import annotations

import mimetypes
import time
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import Field

from agents.tools.calls import ToolError
from agents.toolsets.builtin.files.root import MAX_FILE_BYTES, Root
from agents.toolsets.builtin.files.texts import decoded
from agents.toolsets.builtin.files.trees import InTree, Walk, glob_pattern, within
from agents.toolsets.builtin.files.writing import digest_of
from agents.toolsets.builtin.offer import Short, offer
from agents.toolsets.builtin.patterns import compiled

_SEARCHED_BYTES, _SEARCHED_IN_ALL = 2_000_000, 30_000_000
_LINE = 300
Path = Annotated[str, Field(max_length=1_000)]
Most = Annotated[int, Field(ge=1, le=1_000)]


@offer({"path": "docs"}, home="root", effects="idempotent", untrusted=True)
def list_files(
    root: Root,
    path: Path = "",
    depth: Annotated[int, Field(ge=1, le=20)] = 2,
    most: Most = 200,
) -> dict[str, Any]:
    """Lists a folder as a tree: files with their bytes, folders with a slash."""
    walk = Walk(root, depth=depth)
    lines: list[str] = []
    for found in walk.below(path):
        if len(lines) == most:
            walk.cut = True
            break
        lines.append(f"{found.path}/" if found.is_folder else f"{found.path} {found.stat.st_size}")
    return {"entries": lines, "more": walk.cut}


@offer({"glob": "**/*.txt"}, "re2", home="root", effects="idempotent", untrusted=True)
def find_files(
    root: Root,
    glob: Short,
    path: Path = "",
    least_bytes: Annotated[int, Field(ge=0)] = 0,
    changed_within_days: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None,
    most: Most = 100,
) -> dict[str, Any]:
    """Finds files by a glob like **/*.py, by size, and by when they were changed; newest first."""
    pattern = compiled(f"^{glob_pattern(glob)}$")
    since = 0 if changed_within_days is None else time.time() - changed_within_days * 86_400
    walk = Walk(root)
    found = [
        one
        for one in walk.below(path)
        if not one.is_folder
        and one.stat.st_size >= least_bytes
        and one.stat.st_mtime >= since
        and pattern.search(within(one.path, path)) is not None
    ]
    found.sort(key=lambda one: -one.stat.st_mtime)
    return {"files": [_told(one) for one in found[:most]], "more": walk.cut or len(found) > most}


@offer(
    {"pattern": "TODO|cat", "regex": True},
    "re2",
    home="root",
    effects="idempotent",
    untrusted=True,
)
def search_files(
    root: Root,
    pattern: Short,
    path: Path = "",
    glob: Short = "**",
    regex: bool = False,
    most: Most = 50,
) -> dict[str, Any]:
    """Searches a tree for a text or an RE2 pattern, without what .gitignore leaves out."""
    wanted, names = compiled(pattern, regex=regex), compiled(f"^{glob_pattern(glob)}$")
    walk, left = Walk(root, ignoring=True), _SEARCHED_IN_ALL
    hits: list[dict[str, Any]] = []
    for one in walk.below(path):
        if (
            one.is_folder
            or one.stat.st_size > _SEARCHED_BYTES
            or names.search(within(one.path, path)) is None
        ):
            continue
        left -= one.stat.st_size
        hits += _hits(root, one.path, wanted)
        if left < 0 or len(hits) > most:
            walk.cut = True
            break
    return {"hits": hits[:most], "more": walk.cut}


@offer(
    {"path": "docs/a.txt", "first": 1, "last": 2}, home="root", effects="idempotent", untrusted=True
)
def read_file(
    root: Root,
    path: Path,
    first: Annotated[int, Field(ge=1)] = 1,
    last: Annotated[int, Field(ge=1)] | None = None,
) -> dict[str, Any]:
    """Reads a text file, or its lines from first to last; sha256 is that of the whole file."""
    data = root.read(path)
    text, encoding = decoded(data, path)
    lines = text.splitlines(keepends=True)
    end = min(last or len(lines), len(lines))
    if lines and first > len(lines):
        raise ToolError(f"{path} has {len(lines)} lines.")
    return {
        "text": "".join(lines[first - 1 : end]),
        "lines": f"{min(first, end)}-{end} of {len(lines)}",
        "encoding": encoding,
        "sha256": digest_of(data),
    }


@offer({"path": "docs/a.txt"}, home="root", effects="idempotent")
def file_info(root: Root, path: Path) -> dict[str, Any]:
    """Gives a file's bytes, type, time of change and SHA-256; of a folder what it is."""
    with root.spot(path) as spot:
        if (known := spot.stat()) is None:
            raise FileNotFoundError(2, "No such file", path)
        changed = datetime.fromtimestamp(known.st_mtime, UTC).isoformat(timespec="seconds")
        kinds = {0o040000: "folder", 0o100000: "file", 0o120000: "link"}
        told = {"kind": kinds.get(known.st_mode & 0o170000, "special"), "changed": changed}
    if told["kind"] != "file":
        return told
    digest = digest_of(root.read(path)) if known.st_size <= MAX_FILE_BYTES else None
    kind = mimetypes.guess_type(path)[0]
    return {**told, "bytes": known.st_size, "type": kind, "sha256": digest}


def _told(found: InTree) -> dict[str, Any]:
    changed = datetime.fromtimestamp(found.stat.st_mtime, UTC).isoformat(timespec="seconds")
    return {"path": found.path, "bytes": found.stat.st_size, "changed": changed}


def _hits(root: Root, path: str, wanted: Any) -> list[dict[str, Any]]:
    try:
        text, _ = decoded(root.read(path, _SEARCHED_BYTES), path)
    except ToolError:  # no text, or it went meanwhile
        return []
    if wanted.search(text) is None:
        return []
    return [
        {"path": path, "line": number, "text": line[:_LINE]}
        for number, line in enumerate(text.splitlines(), 1)
        if wanted.search(line) is not None
    ]


TOOLS = (list_files, find_files, search_files, read_file, file_info)
