from __future__ import annotations

import sys
from pathlib import Path

import pytest

from agents.catalog.loading import import_module, see_current_directory
from celery_agents.errors import ConfigurationError


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


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("x = 1\nimport not_there", r"No module named 'not_there' \(.*broken\.py, line 2\)\.$"),
        ("from os import none_such", r"cannot import name 'none_such' .*broken\.py, line 1\)\.$"),
        (None, r"No module named 'broken'\.$"),
    ],
)
def test_what_a_module_cannot_import_is_told_with_its_line(
    text: str | None, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    if text is not None:
        (tmp_path / "broken.py").write_text(text)
    with pytest.raises(ConfigurationError, match=told):
        import_module("broken")
