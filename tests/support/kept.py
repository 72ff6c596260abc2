"""What is made once for all runs of tests on a machine: wheels, programs of Node, compiled modules.

It stands in a folder of the system's temporary files, which nobody else may read.
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

from deploy.local.state import private_directory

HOME = Path(tempfile.gettempdir()) / f"celery-agents-kept-{os.getuid()}"
#: So many of a kind: those of several checkouts, and of some of their earlier states.
_MOST = 8


def kept(kind: str, key: str, make: Callable[[Path], object]) -> Path:
    """A folder of that kind, made by who first asks for what has this key.

    Args:
        kind: of which the newest are kept.
        key: whatever it is made of.
        make: makes it, in an empty folder; who comes meanwhile waits.
    """
    private_directory(HOME)
    kinds = HOME / kind
    kinds.mkdir(exist_ok=True)
    folder = kinds / hashlib.sha256(key.encode()).hexdigest()[:32]
    with (HOME / f"{kind}.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            unfinished = folder.with_suffix(".new")
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir()
            make(unfinished)
            unfinished.rename(folder)
            for old in sorted(kinds.iterdir(), key=lambda f: f.stat().st_mtime)[:-_MOST]:
                shutil.rmtree(old, ignore_errors=True)
    return folder


@contextmanager
def handed_on(cache: Path) -> Iterator[None]:
    """Have a fresh checkout begin with a tool's cache where the last one ended well with it.

    For caches of which the tool itself knows by the content of files what is still so.
    """
    if cache.exists():
        yield
        return
    private_directory(HOME)
    last = HOME / cache.name
    with (HOME / f"{cache.name}.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if last.exists():
            shutil.copytree(last, cache)
    yield
    with (HOME / f"{cache.name}.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        unfinished = last.with_suffix(".new")
        shutil.rmtree(unfinished, ignore_errors=True)
        shutil.copytree(cache, unfinished)
        shutil.rmtree(last, ignore_errors=True)
        unfinished.rename(last)


def state_of(files: Iterable[Path]) -> str:
    """What tells these files from an earlier state of theirs."""
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
