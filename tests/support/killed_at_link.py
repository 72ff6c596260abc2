"""For a worker of the tests: dies with a chain's next link claimed, and before that begins."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from app.execution.attempts.own_wakes import OwnWakes

#: Names the file that a process writes before it dies; where there is one, the others live.
FILE = "KILLED_AT_LINK"

_class: Any = OwnWakes
_take_next = _class._take_next


def _dying(self: OwnWakes, *about: Any) -> None:
    path = Path(os.environ[FILE])
    if not path.exists():
        path.write_text("killed", encoding="utf-8")
        os.kill(os.getpid(), signal.SIGKILL)
    _take_next(self, *about)


_class._take_next = _dying
