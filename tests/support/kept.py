"""Wheels, programs of Node and compiled modules that a run of the tests makes once for all files.

They stand in a folder of the run (tests/conftest.py), which its processes find in the environment.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

#: Names the folder.
KEPT = "TESTS_KEPT"


@contextmanager
def keeping() -> Iterator[None]:
    """Have the folder for as long as the block; one that is nested in another has that one's."""
    if KEPT in os.environ:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="celery-agents-kept-") as folder:
        os.environ[KEPT] = folder
        try:
            yield
        finally:
            del os.environ[KEPT]


def kept(kind: str, key: str, make: Callable[[Path], object]) -> Path:
    """A folder of that kind, made by who first asks for what has this key.

    Args:
        kind: which kind of thing it is.
        key: whatever it is made of.
        make: makes it, in an empty folder; who comes meanwhile waits.
    """
    home = Path(os.environ[KEPT])
    kinds = home / kind
    kinds.mkdir(exist_ok=True)
    folder = kinds / hashlib.sha256(key.encode()).hexdigest()[:32]
    with (home / f"{kind}.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            unfinished = folder.with_suffix(".new")
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir()
            make(unfinished)
            unfinished.rename(folder)
    return folder


def state_of(files: Iterable[Path]) -> str:
    """Times and sizes of files, which tell them from an earlier state of theirs."""
    told = ((file, file.stat()) for file in files)
    return "\n".join(f"{file} {about.st_mtime_ns} {about.st_size}" for file, about in told)


def share_compiled(packages: Path, wheel: Path) -> None:
    """Have what is imported of an environment compiled once for all that have the same files.

    Folders of compiled modules become links. Python compares time and size of a source with those
    in the compiled file, and compiles it anew where they differ; in one second our own might not,
    so those of one wheel stand by themselves.
    """
    ours = kept("compiled", f"{wheel} {hashlib.sha256(wheel.read_bytes()).hexdigest()}", _nothing)
    others = kept("compiled-others", "all", _nothing)
    for place, folders, names in os.walk(packages):
        if "__pycache__" in folders or not any(name.endswith(".py") for name in names):
            continue
        inside = Path(place).relative_to(packages)
        target = ours if inside.parts[:1] == ("celery_agents",) else others
        (target / inside / "__pycache__").mkdir(parents=True, exist_ok=True)
        (Path(place) / "__pycache__").symlink_to(target / inside / "__pycache__")


def _nothing(_: Path) -> None:
    """Leave it empty."""
