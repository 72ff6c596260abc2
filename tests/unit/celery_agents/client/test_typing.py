"""Type checkers find wrong calls, and know what right ones give."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[4]
CALLS = ROOT / "tests/support/typed_calls.py"


@pytest.mark.slow
@pytest.mark.timeout(600)  # it reads Pydantic and the client without a cache
def test_mypy_finds_the_wrong_calls_and_no_others(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--cache-dir", str(tmp_path), str(CALLS)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = CALLS.read_text().splitlines()
    wrong = {n for n, line in enumerate(lines, 1) if line.endswith("# wrong")}
    found = re.findall(r"^(.+?):(\d+): error", done.stdout, re.MULTILINE)
    assert len(wrong) > 20
    assert {name for name, _ in found} == {str(CALLS.relative_to(ROOT))}, done.stdout + done.stderr
    assert {int(number) for _, number in found} == wrong, done.stdout
