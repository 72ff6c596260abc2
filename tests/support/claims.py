"""Claims of steps, as the journal gives them."""

from __future__ import annotations

from typing import Any

from app.journal.schema.rows import Claimed


def claim(**more: Any) -> Claimed:
    """A second claim, under way as it was given or else."""
    given: dict[str, Any] = {
        "id": "s",
        "token": 2,
        "attempt": 2,
        "run_id": "s",
        "parent_id": None,
        "member": "m",
        "task": "t",
        "agent": "a",
        "queue": "q",
        "priority": 5,
        "payload": {"args": [1], "kwargs": {}},
        "max_attempts": 4,
        "remaining_s": None,
    }
    return Claimed(**{**given, **more})
