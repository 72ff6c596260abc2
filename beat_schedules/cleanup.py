"""Keeping the journal small and tidy."""

from __future__ import annotations

from typing import Any

from beat_schedules.turns import in_turns


def schedule(every_s: float) -> dict[str, dict[str, Any]]:
    """Return the entry by which old rows go every ``every_s`` seconds."""
    return {"clean-journal": in_turns("agents.clean", every_s)}
