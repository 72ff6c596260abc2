from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.local import state


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_directories_are_for_their_owner(tmp_path: Path) -> None:
    made = state.private_directory(tmp_path / "a" / "b")
    assert mode(made) == 0o700
    made.chmod(0o755)
    assert mode(state.private_directory(made)) == 0o700


def test_files_are_for_their_owner_even_over_an_open_one(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    path.chmod(0o644)
    state.write_private(path, "new")
    assert (path.read_text(), mode(path)) == ("new", 0o600)
    assert list(tmp_path.iterdir()) == [path]


def test_secret_is_kept_and_differs_from_place_to_place(tmp_path: Path) -> None:
    first = state.kept_secret(tmp_path / "one")
    assert state.kept_secret(tmp_path / "one") == first
    assert state.kept_secret(tmp_path / "two") != first
    assert len(first) >= 24
    assert mode(tmp_path / "one") == 0o600


@given(value=st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40))
def test_shell_reads_back_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, value: str
) -> None:
    path = tmp_path_factory.mktemp("env") / "env"
    state.write_environment(path, {"VALUE": value})
    shell = subprocess.run(
        ["/bin/sh", "-c", '. "$0"; printf %s "$VALUE"', str(path)], capture_output=True, check=True
    )
    assert shell.stdout == value.encode()


def test_root_is_the_checkout() -> None:
    assert (state.ROOT / "pyproject.toml").exists()
