"""A package of a user's own, as docs/design.md shows it: a kind of agents and a pattern."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.local.state import ROOT
from tests.docs.blocks import blocks
from tests.integration.harness import SOON_S, Stack

AGENTS = """
[agents.hi]
kind = "greeter"
greeting = "Ahoy"
"""
POINTS = """[celery_agents.kinds]
greeter = greeting:GREETER
[celery_agents.patterns]
twice = twice
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """The page's modules, as an installed distribution."""
    site = tmp_path / "site"
    about = site / "greetings-1.0.dist-info"
    about.mkdir(parents=True)
    shown = {
        block.code.split(".py", 1)[0].removeprefix("# "): block.code
        for block in blocks(ROOT / "docs" / "design.md", "python")
    }
    for name in ("greeting", "twice"):
        (site / f"{name}.py").write_text(shown[name])
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: greetings\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(POINTS)
    (site / "agents.toml").write_text(AGENTS)
    return site


def test_a_kind_and_a_pattern_of_a_package(fast: Stack, package: Path) -> None:
    fast.worker(
        env={
            "PYTHONPATH": f"{ROOT}:{package}",
            "AGENTS_CONFIG": str(package / "agents.toml"),
            "AGENTS_MODULES": "[]",
        }
    )
    assert fast.client.ask("hi", "Ada").get(timeout=SOON_S) == "Ahoy, Ada!"
    sent = fast.client.celery.send_task(
        "twice.twice", ["Ada"], {"agent": "hi"}, queue="agents", task_id="both"
    )
    assert sent.get(timeout=SOON_S) == "Ahoy, Ahoy, Ada!!"
    assert len(fast.members("both")) == 2
