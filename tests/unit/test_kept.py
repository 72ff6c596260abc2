"""What is made once for all runs is made of what was asked for, and handed on when it is whole."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support import kept


@pytest.fixture(autouse=True)
def _apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(kept, "HOME", tmp_path / "kept")


def test_it_is_made_once_for_each_key_and_the_newest_are_kept() -> None:
    made: list[str] = []

    def one(key: str) -> Path:
        def make(new: Path) -> None:
            made.append(key)
            (new / key).touch()

        folder = kept.kept("things", key, make)
        assert [file.name for file in folder.iterdir()] == [key]
        return folder

    first = one("a")
    os.utime(first, (1, 1))
    assert one("a") == first
    assert made == ["a"]
    others = {one(str(n)) for n in range(kept._MOST)}
    assert made == ["a", *map(str, range(kept._MOST))]
    assert not first.exists()
    assert all(folder.exists() for folder in others)


def test_what_was_not_made_whole_is_made_again() -> None:
    def fails(new: Path) -> None:
        (new / "half").touch()
        raise ValueError("half")

    with pytest.raises(ValueError, match="half"):
        kept.kept("things", "a", fails)
    folder = kept.kept("things", "a", lambda new: (new / "whole").touch())
    assert [file.name for file in folder.iterdir()] == ["whole"]


def test_a_cache_is_handed_on_to_a_fresh_checkout_when_all_was_well(tmp_path: Path) -> None:
    def run(checkout: str, adds: str, *, ends_well: bool = True) -> set[str]:
        cache = tmp_path / checkout / ".tool"
        try:
            with kept.handed_on(cache):
                cache.mkdir(parents=True, exist_ok=True)
                found = {file.name for file in cache.iterdir()}
                (cache / adds).touch()
                assert ends_well
        except AssertionError:
            assert not ends_well
        return found

    assert run("one", "a") == set()
    assert run("two", "b", ends_well=False) == {"a"}
    assert run("three", "c") == {"a"}
    assert run("one", "d") == {"a"}
    assert run("four", "e") == {"a", "c"}
