"""Entries of tasks that work once a turn, however often and by how many beats they are sent."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

#: Messages a turn. One would do if it never came a moment late: a message just before a turn's end
#: and the next one just after the following turn's begin would leave that turn out.
TIMES = 2


def in_turns(task: str, every_s: float) -> dict[str, Any]:
    """An entry whose task takes turns of ``every_s`` seconds (``app/journal/tables/ticks.py``).

    A message that waited for a whole turn has nothing to do any more, so it expires.
    """
    return {
        "task": task,
        "schedule": timedelta(seconds=every_s / TIMES),
        "kwargs": {"every_s": every_s},
        "options": {"queue": "agents.control", "expires": every_s},
    }
