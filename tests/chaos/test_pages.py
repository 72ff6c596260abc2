from __future__ import annotations

import re

from deploy.local.state import ROOT
from tests.chaos import scenarios
from tests.chaos.sabotage import WITHOUT
from tests.chaos.scenario import SCENARIOS

assert scenarios  # imported for what it registers

PAGE = ROOT / "docs" / "chaos.md"


def test_pages_name_scenarios_that_exist() -> None:
    pages = [page.read_text("utf-8") for page in (ROOT / "docs").glob("*.md")]
    named = {name for text in pages for name in re.findall(r"--only ([a-z-]+)", text)}
    assert named
    assert named <= set(SCENARIOS)


def test_each_stands_on_its_page() -> None:
    rows = re.findall(r"^\| (`.*?`) \|", PAGE.read_text("utf-8"), re.MULTILINE)
    told = {name for row in rows for name in re.findall(r"`([a-z-]+)`", row)}
    assert set(SCENARIOS) <= told


def test_each_can_be_seen_to_fail() -> None:
    assert set(WITHOUT) == set(SCENARIOS)
