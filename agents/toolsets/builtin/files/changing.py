"""Tools that change files."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import Annotated, Any, NamedTuple

from pydantic import Field

from agents.tools.calls import ToolError
from agents.toolsets.builtin.files.reading import Path
from agents.toolsets.builtin.files.root import Root, Spot, lock, parts_of, read_at
from agents.toolsets.builtin.files.texts import decoded
from agents.toolsets.builtin.files.writing import digest_of, put
from agents.toolsets.builtin.offer import Document, Text, offer
from agents.toolsets.builtin.patches import apply, near, parsed, reversed_of

_MAX_PATCHED = 50
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


@offer({"path": "new/b.txt", "text": "hello\n"}, home="root", effects="idempotent")
def write_file(
    root: Root,
    path: Path,
    text: Text,
    if_absent: bool = False,
    expected_sha256: Digest | None = None,
) -> dict[str, Any]:
    """Writes a whole text file; if_absent or expected_sha256: only if it is not there, or so."""
    data = text.encode()
    digest = digest_of(data)
    with root.locked(path, make=True) as spot:
        there = None if spot.stat() is None else read_at(spot)
        if there == data:
            return {"path": path, "sha256": digest, "changed": False}
        if there is not None and if_absent:
            raise ToolError(f"{path} is there already, with other text. Nothing was written.")
        if expected_sha256 is not None and (there is None or digest_of(there) != expected_sha256):
            raise ToolError(f"{path} is not as expected: read it again. Nothing was written.")
        put(root, spot, data)
    return {"path": path, "sha256": digest, "changed": True}


@offer(
    {"path": "docs/a.txt", "old": "a cat", "new": "a bat"},
    home="root",
    effects="idempotent",
)
def edit_file(
    root: Root, path: Path, old: Document, new: Document, expected_sha256: Digest | None = None
) -> dict[str, Any]:
    """Replaces a text that stands in a file exactly once; all other bytes stay as they are."""
    if not old.strip() or old == new:
        raise ToolError("old is the text to replace, not only blanks, and new is another one.")
    with root.locked(path) as spot:
        data = read_at(spot)
        before, after = old.encode(), new.encode()
        if expected_sha256 is not None and digest_of(data) != expected_sha256:
            undone = data.replace(after, before, 1) if after else b""
            if digest_of(undone) == expected_sha256:
                return {"path": path, "sha256": digest_of(data), "changed": False}
            raise ToolError(f"{path} is not as expected: read it again. Nothing was changed.")
        if (times := data.count(before)) != 1:
            lines = decoded(data, path)[0].splitlines()
            shown = near(lines, old.strip().splitlines()[0]) if not times else ""
            raise ToolError(
                f"old stands {times} times in {path}, not once: give more of the text around it. "
                f"Nothing was changed.{shown}"
            )
        made = data.replace(before, after)
        put(root, spot, made)
    return {"path": path, "sha256": digest_of(made), "changed": True}


@offer(
    {"patch": "--- a/docs/a.txt\n+++ b/docs/a.txt\n@@ -1,2 +1,2 @@\n a cat\n-a dog\n+a cow\n"},
    "whatthepatch",
    home="root",
    effects="idempotent",
)
def apply_patch(root: Root, patch: Document) -> dict[str, str]:
    """Applies a unified diff of several files, to all or to none; /dev/null makes or deletes."""
    changes = parsed(patch)
    if len(changes) > _MAX_PATCHED:
        raise ToolError(f"A patch changes up to {_MAX_PATCHED} files here.")
    paths = [_path_of(change) for change in changes]
    if len({*paths}) < len(paths):
        raise ToolError("The patch names a file twice. Give one part for each file.")
    with ExitStack() as stack:
        spots = _spots(root, stack, paths)
        planned = [_plan(spots[p], change) for p, change in zip(paths, changes, strict=True)]
        _carry_out(root, [plan for plan in planned if plan.before != plan.after])
    return {plan.spot.path: plan.done for plan in planned}


class _Plan(NamedTuple):
    """A file before and after a patch; None: it is not there."""

    spot: Spot
    before: bytes | None
    after: bytes | None
    done: str


def _spots(root: Root, stack: ExitStack, paths: list[str]) -> dict[str, Spot]:
    """The places of files; their folders are locked in one order, so that no two patches wait."""
    split = {path: path.rpartition("/") for path in paths}
    folders: dict[str, int] = {}
    for above in sorted({above for above, _, _ in split.values()}):
        folders[above] = stack.enter_context(root.folder(above, make=True))
        lock(folders[above])
    return {
        path: Spot(folders[above], "".join(parts_of(name)[:1]), path)
        for path, (above, _, name) in split.items()
    }


def _path_of(change: Any) -> str:
    header = change.header
    if header is None or not (header.old_path and header.new_path):
        raise ToolError("Each part of the patch begins with lines --- a/PATH and +++ b/PATH.")
    path: str = header.old_path if header.new_path == "/dev/null" else header.new_path
    return path[2:] if path.startswith(("a/", "b/")) else path


def _plan(spot: Spot, change: Any) -> _Plan:
    before = None if spot.stat() is None else read_at(spot)
    made, deleted = (p == "/dev/null" for p in (change.header.old_path, change.header.new_path))
    if deleted and before is None:
        return _Plan(spot, None, None, "deleted before")
    if before is None and not made:
        raise ToolError(f"There is no {spot.path}. Nothing was changed.")
    if before is not None and all(one.old is None for one in change.changes) and not made:
        told = f"{spot.path}: give the lines around what is added. Nothing was changed."
        raise ToolError(told)  # added once more, nobody would see it
    text = "" if before is None else before.decode("utf-8", errors="surrogateescape")
    if before is not None and made:
        if not _applied(change, text):
            raise ToolError(f"{spot.path} is there already. Nothing was changed.")
        return _Plan(spot, before, before, "made before")
    try:
        after = apply(change, text)
    except ToolError as error:
        if before is not None and _applied(change, text):
            return _Plan(spot, before, before, "changed before")
        raise ToolError(f"{spot.path}: {error}") from None
    if deleted:
        if after.strip():
            raise ToolError(f"{spot.path} has more than what the patch deletes. Nothing was done.")
        return _Plan(spot, before, None, "deleted")
    done = "made" if made else "changed"
    return _Plan(spot, before, after.encode("utf-8", errors="surrogateescape"), done)


def _applied(change: Any, text: str) -> bool:
    """Return whether a text is what the change makes: an earlier attempt has made it."""
    if all(one.new is None for one in change.changes):
        return False  # nothing that it leaves could tell
    try:
        apply(reversed_of(change), text)
    except ToolError:
        return False
    return True


def _carry_out(root: Root, plans: list[_Plan]) -> None:
    done: list[_Plan] = []
    try:
        for plan in plans:
            _set(root, plan.spot, plan.after)
            done.append(plan)
    except BaseException:
        for plan in reversed(done):
            _set(root, plan.spot, plan.before)
        raise


def _set(root: Root, spot: Spot, data: bytes | None) -> None:
    if data is None:
        os.unlink(spot.name, dir_fd=spot.folder)
    else:
        put(root, spot, data)


TOOLS = (write_file, edit_file, apply_patch)
