"""Walks through a tree of files, bounded in time and number."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

from agents.tools.calls import ToolError
from agents.toolsets.builtin.files.root import (
    TRASH,
    Root,
    Spot,
    below,
    entries,
    parts_of,
    read_at,
)
from agents.toolsets.builtin.patterns import compiled

_MAX_ENTRIES, _LIMIT_S = 50_000, 0.8
_MAX_DEPTH = 40
_MAX_RULES, _RULES_BYTES = 200, 20_000


class InTree(NamedTuple):
    """Something in a tree: its path from the root, what is known of it, and its place."""

    path: str
    stat: os.stat_result
    spot: Spot
    is_folder: bool


@dataclass(slots=True)
class Walk:
    """One walk below a folder; ``cut`` says whether it ended before it had seen everything."""

    root: Root
    depth: int = _MAX_DEPTH
    #: What .gitignore says is not of interest, nor .git, is left out.
    ignoring: bool = False
    cut: bool = False
    _seen: int = 0
    _until: float = field(default_factory=lambda: time.monotonic() + _LIMIT_S)

    def below(self, path: str) -> Iterator[InTree]:
        """All below a folder, folders before what is in them; links are neither."""
        with self.root.folder(path) as folder:
            yield from self._of(folder, "/".join(parts_of(path)), 1, [])

    def _of(self, folder: int, path: str, depth: int, rules: list[_Rule]) -> Iterator[InTree]:
        if self.ignoring:
            rules = [*rules, *_rules_of(folder, path)]
        for entry in entries(folder):
            here = f"{path}/{entry.name}" if path else entry.name
            self._seen += 1
            if self._seen > _MAX_ENTRIES or time.monotonic() > self._until:
                self.cut = True
                return
            is_folder = entry.is_dir(follow_symlinks=False)
            if entry.is_symlink() or here == TRASH or self._ignored(here, rules, is_folder):
                continue
            with suppress(FileNotFoundError):  # it went meanwhile
                known = entry.stat(follow_symlinks=False)
                yield InTree(here, known, Spot(folder, entry.name, here), is_folder)
            if is_folder and depth < self.depth:
                with below(folder, entry.name) as inner:
                    if inner is not None:
                        yield from self._of(inner, here, depth + 1, rules)

    def _ignored(self, path: str, rules: list[_Rule], is_folder: bool) -> bool:
        if not self.ignoring:
            return False
        found = path == ".git"
        for rule in rules:
            if rule.fits(path, is_folder=is_folder):
                found = not rule.kept
        return found


class _Rule(NamedTuple):
    """A line of .gitignore: the last that fits a path decides."""

    pattern: object
    kept: bool
    folders_alone: bool

    def fits(self, path: str, *, is_folder: bool) -> bool:
        found: object = self.pattern.search(path)  # type: ignore[attr-defined]  # of RE2
        return found is not None and (is_folder or not self.folders_alone)


def _rules_of(folder: int, path: str) -> list[_Rule]:
    try:
        data = read_at(Spot(folder, ".gitignore", ".gitignore"), _RULES_BYTES)
    except (OSError, ToolError):
        return []
    lines = data.decode(errors="replace").splitlines()[:_MAX_RULES]
    return [rule for line in lines if (rule := _rule(line.strip(), path)) is not None]


def _rule(line: str, path: str) -> _Rule | None:
    if not line or line.startswith("#"):
        return None
    bare = line.removeprefix("!").removesuffix("/")
    anchored = "/" in bare
    prefix = f"^{re.escape(path)}/" if path else "^"
    start = prefix if anchored else f"{prefix}(?:.*/)?"
    try:
        pattern = compiled(f"{start}{glob_pattern(bare.removeprefix('/'))}$")
    except ToolError:  # too long, or of signs that no file has
        return None
    return _Rule(pattern, line.startswith("!"), line.endswith("/"))


def glob_pattern(glob: str) -> str:
    """The regular expression of a glob: ``**`` is any folders, ``*`` and ``?`` stay in one."""
    told = ""
    for part in re.findall(r"\*\*/|\*\*|\*|\?|\[[^]]+\]|.", glob, re.DOTALL):
        known = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
        if part in known:
            told += known[part]
        elif part.startswith("[") and len(part) > 1:
            told += f"[{'^' * (part[1] in '!^')}{re.escape(part[1:-1].lstrip('!^'))}]".replace(
                "\\-", "-"
            )
        else:
            told += re.escape(part)
    return told


def within(path: str, folder: str) -> str:
    """A path from a folder that it is below, rather than from the root."""
    above = "/".join(parts_of(folder))
    return path[len(above) + 1 :] if above else path
