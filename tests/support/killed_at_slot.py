"""For a worker of the tests: dies when the run of a slot is committed, and its message not sent."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from app.maintenance import schedules

#: Names the file that a process writes before it dies; where there is one, the others live.
FILE = "KILLED_AT_SLOT"

_module: Any = schedules
_publish = _module.publish


def _dying(app: Any, wakes: Any) -> int:
    path = Path(os.environ[FILE])
    if wakes and not path.exists():
        path.write_text("killed", encoding="utf-8")
        os.kill(os.getpid(), signal.SIGKILL)
    return int(_publish(app, wakes))


_module.publish = _dying
