"""Panels of agents.toml: what is one, and what the file says of one that is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from agents.catalog.panels import check_panels, read_panels
from celery_agents.errors import ConfigurationError

TRIAGE = (
    '[panels.triage]\ntask = "vote"\nvoters = ["a", {agent = "b", weight = 2}]\nescalate = "c"\n'
)


def written(folder: Path, text: str) -> Path:
    path = folder / "agents.toml"
    path.write_text(text)
    return path


def test_a_panel_is_a_pattern_with_its_options(tmp_path: Path) -> None:
    assert read_panels(None) == {}
    (panel,) = read_panels(written(tmp_path, TRIAGE)).values()
    assert (panel.name, panel.task, panel.agents) == ("triage", "vote", {"a", "b", "c"})
    assert panel.options["voters"][0]["agent"] == "a"
    assert not panel.options.keys() & {"task", "input", "rule"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("panels = 5", "tables like"),
        ("[panels]\nx = 5", r"\[panels.x\] task has to be one of fallback, vote, gather"),
        ('[panels.x]\ntask = "map"', r"\[panels.x\] task has to be one of"),
        ('[panels.x]\ntask = "vote"', r"\[panels.x\] voters: "),
        ('[panels.x]\ntask = "vote"\nvoters = ["a"]\nrulle = "majority"', r"\[panels.x\] rulle: "),
        ('[panels.x]\ntask = "vote"\nvoters = ["a"]\nstream = true', "stream: whoever asks"),
        ('[panels.x]\ntask = "vote"\nvoters = ["a"]\ninput = "x"', "input: whoever asks"),
        ('[panels."a\\nb"]\ntask = "vote"\nvoters = ["a"]', "that is no name"),
    ],
)
def test_what_is_none(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        read_panels(written(tmp_path, text))


@pytest.mark.parametrize(
    ("agents", "told"),
    [
        (["a", "b", "c", "triage"], "there is an agent of that name"),
        (["a", "bb", "c"], r"'b' is no agent of this worker; did you mean 'bb'"),
    ],
)
def test_its_agents_are_there_and_its_name_is_its_own(
    tmp_path: Path, agents: list[str], told: str
) -> None:
    panels = read_panels(written(tmp_path, TRIAGE))
    check_panels(panels, ["a", "b", "c"])
    with pytest.raises(ConfigurationError, match=told):
        check_panels(panels, agents)
