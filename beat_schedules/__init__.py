"""Beat schedules: data, one module per domain. ``SCHEDULE`` is what beat runs."""

from beat_schedules import upkeep

SCHEDULE = {**upkeep.SCHEDULE}

__all__ = ["SCHEDULE"]
