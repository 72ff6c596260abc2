"""Keeping the journal small and tidy."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

#: Hourly: a day's rows are then deleted in small portions, between the work.
CLEAN_EVERY = timedelta(hours=1)

SCHEDULE: dict[str, dict[str, Any]] = {
    "clean-journal": {
        "task": "agents.clean",
        "schedule": CLEAN_EVERY,
        "options": {"queue": "agents.control", "expires": CLEAN_EVERY.total_seconds()},
    },
}
