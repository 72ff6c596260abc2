"""What is made once for a run is made of what was asked for, and whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import kept


@pytest.fixture(autouse=True)
def _apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(kept.KEPT, str(tmp_path))


def test_it_is_made_once_for_each_key() -> None:
    made: list[str] = []

    def one(key: str) -> Path:
        def make(new: Path) -> None:
            made.append(key)
            (new / key).touch()

        folder = kept.kept("things", key, make)
        assert [file.name for file in folder.iterdir()] == [key]
        return folder

    assert one("a") == one("a") != one("b")
    assert made == ["a", "b"]


def test_what_was_not_made_whole_is_made_again() -> None:
    def fails(new: Path) -> None:
        (new / "half").touch()
        raise ValueError("half")

    with pytest.raises(ValueError, match="half"):
        kept.kept("things", "a", fails)
    folder = kept.kept("things", "a", lambda new: (new / "whole").touch())
    assert [file.name for file in folder.iterdir()] == ["whole"]
