"""Prompts and resources are those of the files as they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from api.mcp.listening.current import CurrentConfigured
from celery_agents.errors import ConfigurationError

ONE = '[mcp.prompts.one]\ntext = "One."\n'
FILE = '[mcp.resources.book]\nuri = "docs://book"\nfile = "book.md"\n'


class Clock:
    """One that each look finds later."""

    now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def test_what_is_changed_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "agents.toml"
    path.write_text(ONE)
    current = CurrentConfigured(path, Clock())
    made = current()
    assert current() is made  # nothing is read that is as it was
    path.write_text(ONE + FILE)
    assert current() is made  # its file is missing: all stays as it was
    (tmp_path / "book.md").write_text("a")
    path.write_text(f"{ONE}{FILE}# with its file\n")
    assert current().resources["book"].text == "a"
    (tmp_path / "book.md").write_text("another")
    assert current().resources["book"].text == "another"
    path.write_text("[")
    assert set(current().prompts) == {"one"}
    path.unlink()
    assert set(current().prompts) == {"one"}


def test_it_has_to_be_right_to_begin_with(tmp_path: Path) -> None:
    (tmp_path / "agents.toml").write_text("[mcp.prompts.one]\n")
    with pytest.raises(ConfigurationError):
        CurrentConfigured(tmp_path / "agents.toml")
    assert not CurrentConfigured(None)().prompts
