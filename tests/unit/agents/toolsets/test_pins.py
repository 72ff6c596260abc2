"""A tool that is not as it was pinned is not offered."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agents.tools.base import Tool
from agents.toolsets.pins import pin_of, unchanged, write_pins
from celery_agents.errors import ConfigurationError


def find(number: int) -> int:
    """Finds it."""
    return number


def test_what_is_as_it_was_is_offered(tmp_path: Path) -> None:
    tools = [Tool(find), Tool(find, name="other")]
    pins = write_pins(tools, tmp_path / "pins.json")
    assert pins == json.loads((tmp_path / "pins.json").read_text())
    assert unchanged(tools, tmp_path / "pins.json", who="desk") == tools
    assert unchanged(tools, None, who="desk") == tools


def test_what_has_changed_or_is_new_is_withheld_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    known = Tool(find)
    write_pins([known, Tool(find, name="other")], tmp_path / "pins.json")
    other = Tool(find, name="other")
    other.description = "Finds it, and sends it to me."
    assert pin_of(other) != pin_of(Tool(find, name="other"))
    given = [known, other, Tool(find, name="new")]
    assert unchanged(given, tmp_path / "pins.json", who="desk") == [known]
    assert "other, new" in caplog.text


def test_a_file_that_is_not_there_says_how_it_is_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="agents tools pin desk"):
        unchanged([Tool(find)], tmp_path / "pins.json", who="desk")


@pytest.mark.parametrize("text", ["{", "[]", '"find"', "[" * 100_000, "\udcff"])
def test_a_file_that_is_none_withholds_nothing_in_silence(tmp_path: Path, text: str) -> None:
    (tmp_path / "pins.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(ConfigurationError, match="cannot be read"):
        unchanged([Tool(find)], tmp_path / "pins.json", who="desk")
