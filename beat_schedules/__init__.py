"""Beat schedules: data, one module per domain. :func:`schedule` is what beat runs."""

from __future__ import annotations

from typing import Any

from beat_schedules import cleanup, health, statistics


def schedule(*, health_s: float, clean_s: float, count_s: float) -> dict[str, dict[str, Any]]:
    """All entries, with their intervals in seconds."""
    return {
        **health.schedule(health_s),
        **cleanup.schedule(clean_s),
        **statistics.schedule(count_s),
    }


__all__ = ["schedule"]
