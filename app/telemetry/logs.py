"""Celery's own log lines: which task, how long, how it failed; never an answer.

A message that goes back to its queue, since the journal is away, is told of once: it comes again
every few seconds, and with it all others do.
"""

from __future__ import annotations

import logging
from typing import Any

from celery.app import trace
from celery.worker import strategy

from app.telemetry.newest import Newest
from celery_agents.wire.shown import shown_text

#: Celery's line for a task that succeeded, without its result.
SUCCEEDED = "Task %(name)s[%(id)s] succeeded in %(runtime)ss"
#: What Celery's lines also carry for handlers that write all of a record (JSON, Sentry).
_PRIVATE = frozenset({"return_value", "args", "kwargs"})
#: How names of our tasks begin.
OURS = "agents."
_FORMATTER = logging.Formatter()
#: Ids that are remembered at the most.
_RETURNED_MAX = 10_000


#: Of messages of this process that went back to their queue.
returned = Newest[None](_RETURNED_MAX)
_REPEATED = {trace.LOG_RECEIVED, trace.LOG_REJECTED}


class Discreet(logging.Filter):
    """Takes answers and arguments out of Celery's records, and secrets out of the rest."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Redact a record; refuse one that repeats what was told of a returned message."""
        told = record.args
        if record.msg in _REPEATED and isinstance(told, dict) and told.get("id") in returned:
            return False
        if record.msg == trace.LOG_SUCCESS:
            record.msg = SUCCEEDED
        if isinstance(record.args, dict):
            record.args = _discreet(record.args)
        if isinstance(data := getattr(record, "data", None), dict):
            record.data = _discreet(data)
        if record.exc_info:  # a handler takes this text instead of making its own
            record.exc_text = shown_text(_FORMATTER.formatException(record.exc_info))
        return True


class ReceivedLines(logging.Filter):
    """Leaves out Celery's line of a message that has come.

    It cannot say whose run it is: another one does, when its step begins.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Refuse such a line of one of our tasks, unless all is told."""
        if record.msg != trace.LOG_RECEIVED or strategy.logger.isEnabledFor(logging.DEBUG):
            return True
        told = record.args
        return not (isinstance(told, dict) and str(told.get("name")).startswith(OURS))


def tell_begins() -> None:
    """Have lines of this process say that a step begins, not that its message has come."""
    if not any(isinstance(f, ReceivedLines) for f in strategy.logger.filters):
        strategy.logger.addFilter(ReceivedLines())


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
