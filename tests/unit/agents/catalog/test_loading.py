from __future__ import annotations

import sys
from pathlib import Path

import pytest

from agents.catalog.loading import see_current_directory


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (["/lib"], ["HERE", "/lib"]),
        (["/lib", "HERE"], ["/lib", "HERE"]),
        (["", "/lib"], ["", "/lib"]),
        ([], ["HERE"]),
    ],
)
def test_modules_are_found_beside_the_app(
    before: list[str], after: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    here = {"HERE": str(tmp_path)}
    monkeypatch.setattr(sys, "path", [here.get(entry, entry) for entry in before])
    see_current_directory()
    assert sys.path == [here.get(entry, entry) for entry in after]
