"""Memories as they are told, of their rows."""

from __future__ import annotations

from typing import Any

from celery_agents.contracts.experience import Experienced
from celery_agents.contracts.memory import MemoryRecord

#: Memories that are ranked at the most.
RANKED_MAX = 300


def record_of(row: Any, told: str, points: int = 0) -> MemoryRecord:
    """Return a row's memory, with its text and how well it fits."""
    names = ("id", "tokens", "importance", "at", "until", "replaces", "agent", "run_id", "trust")
    about: dict[str, Any] = {name: getattr(row, name) for name in names}
    if row.experience is not None:
        about["experience"] = Experienced.model_validate(row.experience)
    return MemoryRecord(text=told, thread=row.thread, turn=row.turn, score=points, **about)
