from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from bench import venvs


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[list[str]]:
    """The commands that are run, in place of running them; those of uv fail."""
    found: list[list[str]] = []

    def run(command: list[str]) -> None:
        found.append(command)
        if Path(command[0]).name == "uv" and "install" in command:
            raise RuntimeError("no route")
        made = Path(command[-1]) if "venv" in command else None
        if made is not None:
            made.mkdir(parents=True)

    monkeypatch.setattr(venvs, "_run", run)
    monkeypatch.setattr(venvs, "VENVS", tmp_path)
    return found


def test_the_projects_own_where_nothing_is_asked_for(ran: list[list[str]]) -> None:
    assert venvs.python_of("ours", ()) == Path(sys.executable)
    assert ran == []


def test_pip_where_uv_cannot(ran: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: "/bin/uv")
    python = venvs.python_of("other", ["other==1"])
    assert [Path(c[0]).name for c in ran[:2]] == ["uv", "uv"]
    assert ran[2][:3] == [sys.executable, "-m", "venv"]
    assert ran[3] == [str(python), "-m", "pip", "install", "--quiet", "other==1"]
    assert venvs.python_of("other", ["other==1"]) == python
    assert len(ran) == 4  # it stands


def test_what_cannot_be_made_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(venvs, "VENVS", tmp_path)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(RuntimeError, match="false failed"):
        venvs.python_of("other", ["other==1"])
