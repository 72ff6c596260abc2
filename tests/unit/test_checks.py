"""What ``./run check`` looks at before the tests holds in ``./run test``, too."""

from __future__ import annotations

import subprocess
import sys

import pytest

from deploy.local.state import ROOT
from tests.support.kept import handed_on


def clean(*command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"


@pytest.mark.parametrize("command", ["check", "format --check"])
def test_ruff_finds_nothing(command: str) -> None:
    clean("ruff", *command.split())


@pytest.mark.timeout(600)  # without a cache, on a machine that runs the other tests, too
def test_mypy_finds_nothing() -> None:
    with handed_on(ROOT / ".mypy_cache"):
        clean("mypy")
