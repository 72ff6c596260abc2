"""What Celery's own log lines may tell: which task, how long, how it failed; never an answer."""

from __future__ import annotations

import logging
from typing import Any

from celery.app import trace
from celery.worker import strategy

from celery_agents.shown import shown_text

#: Celery's line for a task that succeeded, without its result.
SUCCEEDED = "Task %(name)s[%(id)s] succeeded in %(runtime)ss"
#: What Celery's lines also carry for handlers that write all of a record (JSON, Sentry).
_PRIVATE = frozenset({"return_value", "args", "kwargs"})
_FORMATTER = logging.Formatter()


class Discreet(logging.Filter):
    """Takes answers and arguments out of Celery's records, and secrets out of the rest."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.msg == trace.LOG_SUCCESS:
            record.msg = SUCCEEDED
        if isinstance(record.args, dict):
            record.args = _discreet(record.args)
        if isinstance(data := getattr(record, "data", None), dict):
            record.data = _discreet(data)
        if record.exc_info:  # a handler takes this text instead of making its own
            record.exc_text = shown_text(_FORMATTER.formatException(record.exc_info))
        return True


def be_discreet() -> None:
    """Have it hold for this process, and for the children that it forks."""
    for module in (trace, strategy):
        if not any(isinstance(f, Discreet) for f in module.logger.filters):
            module.logger.addFilter(Discreet())


def _discreet(told: dict[str, Any]) -> dict[str, Any]:
    return {
        name: shown_text(value) if isinstance(value, str) else value
        for name, value in told.items()
        if name not in _PRIVATE
    }
