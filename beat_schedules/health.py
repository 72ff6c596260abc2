"""Looking at broker, journal, agents and providers."""

from __future__ import annotations

from typing import Any

from beat_schedules.turns import in_turns


def schedule(every_s: float) -> dict[str, dict[str, Any]]:
    """Return the entry by which everything is looked at every ``every_s`` seconds."""
    return {"probe-health": in_turns("agents.probe", every_s)}
