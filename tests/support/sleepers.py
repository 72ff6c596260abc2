"""Processes that do nothing, for tests of what ends processes."""

from __future__ import annotations

import time
from pathlib import Path

from deploy.local.child import Child


def sleeper(path: Path, script: str = "exec sleep 60") -> Child:
    """A process of ours which has got as far as its sleep."""
    child = Child(
        ["/bin/sh", "-c", f"echo up; {script}"], pid_file=path, output=path.with_suffix(".out")
    )
    until = time.monotonic() + 10
    while not path.with_suffix(".out").read_text():
        assert time.monotonic() < until
        time.sleep(0.01)
    return child
