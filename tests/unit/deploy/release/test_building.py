from __future__ import annotations

import subprocess
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from deploy.local.state import ROOT
from deploy.release import building
from deploy.wheel import HOME
from tests.support.drawn import is_full
from tests.support.validators import needs
from tests.support.wheel import published

pytestmark = needs("uv")

PROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "small"
version = "1.0"
[tool.hatch.build.targets.wheel]
packages = ["small"]
[tool.hatch.build.targets.wheel.hooks.custom]
"""
#: A hook that writes what differs between two builds.
HOOK = """
import os
from pathlib import Path
from hatchling.builders.hooks.plugin.interface import BuildHookInterface
class Hook(BuildHookInterface):
    def initialize(self, version, build_data):
        Path(self.root, "small", "made.py").write_text(f"ZONE = {os.environ['TZ']!r}")
"""


def git(folder: Path, *words: str) -> str:
    who = ("-c", "user.name=x", "-c", "user.email=x@example.com")
    return subprocess.run(
        ["git", "-C", str(folder), *who, *words], check=True, capture_output=True, text=True
    ).stdout


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A checkout of one module."""
    root = tmp_path / "small"
    (root / "small").mkdir(parents=True)
    (root / "small" / "__init__.py").write_text("")
    (root / "pyproject.toml").write_text(PROJECT)
    (root / ".gitignore").write_text("secrets/\n")
    (root / "hatch_build.py").write_text("")
    git(root, "init", "--quiet")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "-m", "x")
    return root


@contextmanager
def reaching() -> Iterator[None]:
    """Skip where the index of the builder cannot be reached."""
    try:
        yield
    except building.BuildError as error:
        if "Failed to fetch" not in str(error):
            raise
        pytest.skip(f"the index cannot be reached: {error}")


def built(root: Path, out: Path) -> dict[str, str]:
    with reaching():
        return building.build_twice(root, out)
    raise AssertionError


def told(monkeypatch: pytest.MonkeyPatch, *texts: str) -> None:
    """Have builds make an sdist of these texts, one after another."""
    left = iter(texts)

    def build(*_: Any) -> TemporaryDirectory[str]:
        out = TemporaryDirectory()
        Path(out.name, "small-1.0.tar.gz").write_text(next(left))
        return out

    monkeypatch.setattr(building, "build", build)


@pytest.mark.timeout(300)
def test_the_same_bytes_twice_and_what_is_in_them() -> None:
    """Twice in full: a release compares two builds as it is made, and those of less are below."""
    with reaching():
        out = published()
        sums = building.digests(out)
        if is_full():
            names, time = building.tracked(ROOT), building.epoch(ROOT)
            with building.build(ROOT, names, time, building.UNLIKE[1]) as other:
                assert building.digests(Path(other)) == sums
    has_what_it_should(out, sums)


def has_what_it_should(out: Path, sums: dict[str, str]) -> None:
    wheel, sdist = sorted(sums, key=lambda n: n.endswith(".tar.gz"))
    assert len(sums) == 2
    with zipfile.ZipFile(out / wheel) as archive:
        names = set(archive.namelist())
        modes = {info.external_attr >> 16 & 0o777 for info in archive.infolist()}
    home = HOME.replace(".", "/")
    assert {f"{home}/app/settings.py", "celery_agents/__init__.py"} <= names
    hatch = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"][
        "targets"
    ]
    about = wheel.rsplit("-", 3)[0] + ".dist-info"
    assert {n.split("/")[0] for n in names} == {*hatch["wheel"]["packages"], about}
    assert modes <= {0o644, 0o755}
    with tarfile.open(out / sdist) as source:
        members = source.getmembers()
    times = {m.mtime for m in members}
    assert times == {building.epoch(ROOT)}
    assert {(m.uid, m.uname) for m in members} == {(0, "")}
    # Whatever the wheel is built from is in the sdist: it was built from there.
    top = {m.name.split("/")[1] for m in members}
    assert {p.strip("/") for p in hatch["sdist"]["include"]} <= top


def test_builds_that_differ_are_refused(small: Path, tmp_path: Path) -> None:
    (small / "hatch_build.py").write_text(HOOK)
    git(small, "commit", "--quiet", "-am", "a hook")
    with pytest.raises(building.BuildError, match=r"two builds differ: small-1\.0-.*whl$"):
        built(small, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_earlier_release_stays_where_they_do(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told(monkeypatch, "one", "another")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "small-0.9.tar.gz").write_text("the one before")
    with pytest.raises(building.BuildError, match="two builds differ"):
        building.build_twice(small, tmp_path / "out")
    assert [f.name for f in (tmp_path / "out").iterdir()] == ["small-0.9.tar.gz"]


def test_an_earlier_release_is_replaced(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told(monkeypatch, "the same", "the same")
    out = tmp_path / "out"
    out.mkdir()
    for name in ("small-0.9.tar.gz", "small-0.9-py3-none-any.whl", building.SUMS, building.SBOM):
        (out / name).write_text("the one before")
    sums = building.build_twice(small, out)
    assert {f.name for f in out.iterdir()} == sums.keys() == {"small-1.0.tar.gz"}


@pytest.mark.parametrize(
    "name", ["notes.txt", ".git", "small-0.9.zip", "other-1.0.tar.gz", "smaller-1.0.tar.gz"]
)
@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_a_folder_with_anything_else_is_refused(
    small: Path, tmp_path: Path, name: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "small-0.9.tar.gz").write_text("the one before")
    if kind == "file":
        (out / name).write_text("mine")
    elif kind == "folder":
        (out / name).mkdir()
    else:
        (out / "small-0.8.tar.gz").symlink_to(small / "pyproject.toml")
    before = sorted(out.iterdir())
    monkeypatch.setattr(building, "build", lambda *_: pytest.fail("it is built"))
    with pytest.raises(building.BuildError, match="is of no release"):
        building.build_twice(small, out)
    assert sorted(out.iterdir()) == before


def test_a_file_is_no_folder(small: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(building.BuildError, match="is no folder"):
        building.build_twice(small, tmp_path / "out")
    assert (tmp_path / "out").read_text() == "mine"


def test_what_is_not_tracked_is_not_built(small: Path, tmp_path: Path) -> None:
    (small / "hatch_build.py").write_text(HOOK.replace("os.environ['TZ']", "1"))
    git(small, "commit", "--quiet", "-am", "a hook")
    (small / "small" / "secrets").mkdir()
    (small / "small" / "secrets" / "key.py").write_text("KEY = 1")
    assert building.uncommitted(small) == []  # it is ignored, too
    (small / "small" / "new.py").write_text("")
    assert building.uncommitted(small) == ["small/new.py is not committed"]
    built(small, tmp_path / "out")
    (wheel,) = (tmp_path / "out").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = {n for n in archive.namelist() if n.startswith("small/")}
    assert names == {"small/__init__.py", "small/made.py"}


def test_the_time_is_the_commits_or_what_is_given(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    assert building.epoch(small) == int(git(small, "log", "-1", "--format=%ct"))
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    assert building.epoch(small) == 1_700_000_000


def test_a_folder_without_git_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(building.BuildError, match="not a git repository"):
        building.tracked(tmp_path)
