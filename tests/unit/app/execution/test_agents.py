from __future__ import annotations

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.execution.agents import see_current_directory
from app.execution.runtime import Runtime


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


def breakers() -> int:
    return sum(thread.name == "agents-admission" for thread in threading.enumerate())


def test_who_asks_no_agent_has_no_breakers(runtime: Runtime) -> None:
    """Those who ask share one set of them."""
    before = breakers()
    with ThreadPoolExecutor(8) as pool:
        turns = list(pool.map(lambda _: runtime.agents.turns, range(50)))
    assert len(set(map(id, turns))) == 1
    assert breakers() == before + 1
