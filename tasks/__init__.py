"""The Celery tasks. Importing this package registers them; it starts and connects nothing."""

from tasks import (
    ask,
    compensate,
    control,
    fallback,
    flow,
    gather,
    health,
    mapping,
    other,
    schedules,
    solve,
    streams,
    team,
    upkeep,
    vote,
    webhook,
)

__all__ = [
    "ask",
    "compensate",
    "control",
    "fallback",
    "flow",
    "gather",
    "health",
    "mapping",
    "other",
    "schedules",
    "solve",
    "streams",
    "team",
    "upkeep",
    "vote",
    "webhook",
]
