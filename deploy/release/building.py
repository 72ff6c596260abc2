"""Wheel and sdist from what Git tracks: built twice, in two places, and compared."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from tempfile import TemporaryDirectory

#: What may differ between two machines, and must not be in what they build.
UNLIKE = (
    {"umask": "0022", "PYTHONHASHSEED": "1", "TZ": "UTC", "LC_ALL": "C.UTF-8"},
    {"umask": "0077", "PYTHONHASHSEED": "2", "TZ": "Asia/Kathmandu", "LC_ALL": "C"},
)
#: What a release has beside its artefacts.
SBOM, SUMS = "celery-agents.cdx.json", "SHA256SUMS"
#: The version of what builds.
BUILDER = Path(__file__).with_name("builder.txt")


class BuildError(Exception):
    """Nothing was built, or not the same twice."""


def tracked(root: Path) -> list[str]:
    """Return the files that Git tracks and that are there.

    Raises:
        BuildError: the folder is no checkout of Git's.
    """
    names = _git(root, "ls-files", "-z").split("\0")
    return [name for name in names if name and (root / name).is_file()]


def uncommitted(root: Path) -> list[str]:
    """Return what would be built otherwise from a fresh clone, a line each."""
    changed = _git(root, "status", "--porcelain").splitlines()
    return [f"{line[3:]} is not committed" for line in changed]


def epoch(root: Path) -> int:
    """Return the time that files in archives have: the commit's, or SOURCE_DATE_EPOCH."""
    given = os.environ.get("SOURCE_DATE_EPOCH")
    return int(given or _git(root, "log", "-1", "--format=%ct"))


def build_twice(root: Path, out: Path) -> dict[str, str]:
    """Build into ``out``, in place of an earlier release; the digest of each file.

    Raises:
        BuildError: the two builds differ, or in ``out`` is something else. Nothing was changed.
    """
    names, time = tracked(root), epoch(root)
    earlier(root, out)
    first, second = (build(root, names, time, unlike) for unlike in UNLIKE)
    with first, second:
        ours, others = digests(Path(first.name)), digests(Path(second.name))
        if ours != others:
            unequal = sorted(n for n in {*ours, *others} if ours.get(n) != others.get(n))
            raise BuildError(f"two builds differ: {', '.join(unequal)}")
        for file in earlier(root, out):
            file.unlink()
        out.mkdir(parents=True, exist_ok=True)
        for name in ours:
            shutil.copyfile(Path(first.name, name), out / name)
    return ours


def earlier(root: Path, out: Path) -> list[Path]:
    """Return the files of an earlier release.

    Raises:
        BuildError: there are others too, or it is no folder.
    """
    if not (out.exists() or out.is_symlink()):
        return []
    if not out.is_dir():
        raise BuildError(f"{out} is no folder")
    about = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    name = re.sub(r"[-_.]+", "_", about["project"]["name"]).lower()
    ours = re.compile(rf"{re.escape(name)}-[^/]+(\.whl|\.tar\.gz)")
    found = sorted(out.iterdir())
    for file in found:
        known = file.name in {SBOM, SUMS} or ours.fullmatch(file.name)
        if not known or file.is_symlink() or not file.is_file():
            raise BuildError(f"{file} is of no release: empty the folder, or name another one")
    return found


def build(
    root: Path, names: list[str], time: int, unlike: dict[str, str]
) -> TemporaryDirectory[str]:
    """Build the files of these names in a folder of their own.

    Raises:
        BuildError: uv could not.
    """
    out = TemporaryDirectory()
    with TemporaryDirectory() as folder:
        source = Path(folder, f"source-{unlike['umask']}")
        for name in names:
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / name, source / name)
            (source / name).chmod((root / name).stat().st_mode & 0o700 | 0o644)
        command = [installer(), "build", "--quiet", "--python", sys.executable]
        command += ["--build-constraints", str(BUILDER)]
        env = {"UV_SYSTEM_CERTS": "true", "UV_PYTHON_DOWNLOADS": "never", **os.environ, **unlike}
        done = subprocess.run(
            [*command, "--out-dir", out.name, str(source)],
            env={**env, "SOURCE_DATE_EPOCH": str(time)},
            umask=int(unlike["umask"], 8),
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        out.cleanup()
        raise BuildError(done.stderr)
    return out


def digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each artefact."""
    files = sorted(p for p in folder.iterdir() if p.name.endswith((".whl", ".tar.gz")))
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def installer() -> str:
    """Return the path of uv, which builds and reads the lock file.

    Raises:
        BuildError: there is none.
    """
    beside = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    if found := shutil.which("uv", path=beside):
        return found
    raise BuildError("uv is needed: https://docs.astral.sh/uv/, or pip install uv")


def _git(root: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(root), *words], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise BuildError(done.stderr.strip())
    return done.stdout
