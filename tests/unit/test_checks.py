"""What ``./run check`` looks at before the tests holds in ``./run test``, too."""

from __future__ import annotations

import subprocess
import sys
import tomllib

import pytest

from deploy.local.state import ROOT
from tests.support.drawn import is_full

#: Code that is judged by running it: its types are checked in full, and by ``./run check``.
RUN = {"tests", "bench"}


def _mypy() -> tuple[str, ...]:
    """Mypy of all packages, or of those that others use."""
    if is_full():
        return ("mypy",)
    about = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]
    packages = [word for name in about["packages"] if name not in RUN for word in ("-p", name)]
    modules = [word for name in about["modules"] for word in ("-m", name)]
    return ("mypy", *packages, *modules)


@pytest.mark.timeout(600)  # without a cache, on a machine that runs the other tests, too
@pytest.mark.parametrize(
    "command",
    [("ruff", "check"), ("ruff", "format", "--check"), _mypy()],
    ids=["ruff check", "ruff format --check", "mypy"],
)
def test_the_checkout_is_clean(command: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
