"""Counting what has ended."""

from __future__ import annotations

from typing import Any

from beat_schedules.turns import in_turns


def schedule(every_s: float) -> dict[str, dict[str, Any]]:
    """Return the entry by which runs that have ended are counted every ``every_s`` seconds."""
    return {"count-steps": in_turns("agents.count", every_s)}
