from __future__ import annotations

import os
import re
from contextlib import suppress

import pytest

from deploy.local.state import ROOT
from tests.chaos import scenarios
from tests.chaos.sabotage import WITHOUT
from tests.chaos.scenario import SCENARIOS

assert scenarios  # imported for what it registers

TAKEN_AWAY = {protection.__name__: protection for protection in WITHOUT.values()}
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


@pytest.mark.parametrize("name", sorted(TAKEN_AWAY))
def test_what_each_cannot_do_without_is_there(name: str) -> None:
    if not (pid := os.fork()):  # nothing of it is put back
        with suppress(BaseException):
            TAKEN_AWAY[name]()
            os._exit(0)
        os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0
