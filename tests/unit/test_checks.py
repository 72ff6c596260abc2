"""What ``./run check`` looks at before the tests holds in ``./run test``, too."""

from __future__ import annotations

import subprocess
import sys

import pytest

from deploy.local.state import ROOT


@pytest.mark.timeout(600)  # without a cache, on a machine that runs the other tests, too
@pytest.mark.parametrize(
    "command", [("ruff", "check"), ("ruff", "format", "--check"), ("mypy",)], ids=" ".join
)
def test_the_checkout_is_clean(command: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
