"""Folders of skills, as they are when they are read first: what has changed since is not shown.

A skill is a folder with a SKILL.md: YAML between two lines of ``---``, with a name and what the
skill is for, and instructions below it. Other files of the folder belong to it.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agents.tools.calls import ToolError
from agents.toolsets.builtin.files.root import Root, below, entries
from agents.values import digest, shown
from celery_agents.errors import ConfigurationError

#: The file that makes a folder a skill.
MAIN = "SKILL.md"
#: Bytes of a file that a model reads, files of a skill, and their bytes together.
FILE_MAX, FILES_MAX, SKILL_MAX = 200_000, 200, 20_000_000
#: Folders of a skill, one within the other.
_DEPTH_MAX = 10
#: Skills of one toolset.
SKILLS_MAX = 50
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_NAME_MAX, _DESCRIPTION_MAX, _HEAD_MAX = 64, 1_024, 16_384
_HEAD = re.compile(r"---[ \t]*\r?\n(.*?)\r?\n---[ \t]*(?:\r?\n|\Z)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Skill:
    """One skill: what a model is told of it at first, and the digests of its files."""

    name: str
    description: str
    root: Root
    #: Of each file the SHA-256, by its path in the folder.
    files: dict[str, str]

    def read(self, path: str) -> str:
        """The text of a file.

        Raises:
            ToolError: there is none of that path, it is another than it was, or no text.
        """
        if (known := self.files.get(path)) is None:
            raise ToolError(f"{self.name} has no file {path[:200]!r}. It has {self._told_files()}.")
        raw = self.root.read(f"{self.name}/{path}", FILE_MAX)
        if _hash(raw) != known:
            raise ToolError(f"{path} has changed since the worker began, and is not shown.")
        try:
            return raw.decode()
        except UnicodeDecodeError:
            raise ToolError(f"{path} is no text.") from None

    def _told_files(self) -> str:
        return ", ".join([*self.files][:20])


def read_skills(folders: Sequence[Path]) -> dict[str, Skill]:
    """The skills of these folders, by name; each of them may be a skill itself.

    Raises:
        ConfigurationError: there is none, one is malformed, or two have one name.
    """
    found: dict[str, Skill] = {}
    for folder in folders:
        for root, name in _places(folder):
            if name in found:
                raise ConfigurationError(f"folders: two skills are named {name!r}.")
            found[name] = _skill(root, name)
    if not found:
        raise ConfigurationError(f"folders: none of them has a skill, a folder with {MAIN}.")
    if len(found) > SKILLS_MAX:
        raise ConfigurationError(f"folders: {len(found)} skills, above {SKILLS_MAX}.")
    return dict(sorted(found.items()))


def digest_of(skills: dict[str, Skill]) -> str:
    """The digest of all files of these skills."""
    return digest({name: skill.files for name, skill in skills.items()})


def _places(folder: Path) -> Iterator[tuple[Root, str]]:
    """The skills in a folder: where each stands, and the name of its folder."""
    path = folder.absolute()
    try:
        if not path.is_dir():
            raise ConfigurationError(f"folders: there is no folder {folder}.")
        if _is_there(path / MAIN):
            yield Root(path.parent), path.name
            return
        root = Root(path)
        with root.folder("") as top:
            names = [one.name for one in entries(top) if one.is_dir(follow_symlinks=False)]
        for name in names:
            if _is_there(path / name / MAIN):
                yield root, name
    except ToolError as error:
        raise ConfigurationError(f"folders: {folder}: {error}") from None
    except OSError as error:
        raise ConfigurationError(f"folders: {folder} cannot be read: {error.strerror}.") from None


def _is_there(path: Path) -> bool:
    """Return whether a folder is a skill; one that cannot be looked into may be one.

    Raises:
        OSError: nobody can tell.
    """
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _skill(root: Root, name: str) -> Skill:
    try:
        files = dict(sorted(_files(root, name)))
        head = _head(root.read(f"{name}/{MAIN}", FILE_MAX).decode())
    except (ToolError, OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"folders: the skill {name!r}: {error}") from None
    said = head.get("name")
    if said != name or not _NAME.fullmatch(name) or len(name) > _NAME_MAX:
        raise ConfigurationError(
            f"folders: the skill {name!r} says that its name is {_quoted(said)}. It is that of its "
            f"folder, of small letters, digits and -, up to {_NAME_MAX}."
        )
    about = head.get("description")
    if not isinstance(about, str) or not 0 < len(about.strip()) <= _DESCRIPTION_MAX:
        raise ConfigurationError(
            f"folders: the skill {name!r} has no description of up to {_DESCRIPTION_MAX:,} letters."
        )
    return Skill(name, " ".join(about.split()), root, files)


def _head(text: str) -> dict[str, Any]:
    match = _HEAD.match(text)
    if match is None or len(match[1]) > _HEAD_MAX:
        raise ToolError(f"{MAIN} begins with YAML between two lines of ---.")
    try:
        yaml: Any = importlib.import_module("yaml")
    except ModuleNotFoundError:
        raise ToolError("it needs the package pyyaml: pip install celery-agents[tools]") from None
    try:
        found = _loaded(yaml, match[1])
    except Exception as error:  # noqa: BLE001 - whatever a parser of others' texts raises
        raise ToolError(f"{MAIN} has malformed YAML: {shown(error)}") from None
    if not isinstance(found, dict):
        raise ToolError(f"{MAIN} begins with fields like name: and description:.")
    return found


def _loaded(yaml: Any, text: str) -> Any:
    """The fields of a head, each value a text: no dates, no numbers, and nothing made of others.

    A few lines of aliases would stand for more than any memory has.
    """
    if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.BaseLoader)):
        raise ToolError("it has aliases")
    return yaml.load(text, yaml.BaseLoader)


def _quoted(said: object) -> str:
    return shown(said) if isinstance(said, str) else "no text"


def _files(root: Root, name: str) -> Iterator[tuple[str, str]]:
    """Each file of a skill with its digest; links are none of them."""
    count, size = 0, 0
    with root.folder(name) as folder:
        for path, found in _below(folder, ""):
            count, size = count + 1, size + found.st_size
            if count > FILES_MAX or size > SKILL_MAX:
                raise ToolError(f"it has more than {FILES_MAX} files, or {SKILL_MAX:,} bytes.")
            yield path, _hash(root.read(f"{name}/{path}", SKILL_MAX))


def _below(folder: int, before: str) -> Iterator[tuple[str, os.stat_result]]:
    for entry in entries(folder):
        path = f"{before}{entry.name}"
        if entry.is_dir(follow_symlinks=False):
            if path.count("/") >= _DEPTH_MAX:
                raise ToolError(f"it has more than {_DEPTH_MAX} folders, one within the other.")
            with below(folder, entry.name) as inner:
                if inner is not None:
                    yield from _below(inner, f"{path}/")
        else:
            with suppress(FileNotFoundError):  # it went meanwhile
                found = entry.stat(follow_symlinks=False)
                if stat.S_ISREG(found.st_mode):
                    yield path, found


def _hash(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()
