"""Celery's own log lines: which task, how long, how it failed; never an answer.

A message that goes back to its queue, since the journal is away, is told of once: it comes again
every few seconds, and with it all others do.
"""

from __future__ import annotations

import logging
import os
import threading
from typing import Any

from celery.app import trace
from celery.worker import strategy

from celery_agents.wire.shown import shown_text

#: Celery's line for a task that succeeded, without its result.
SUCCEEDED = "Task %(name)s[%(id)s] succeeded in %(runtime)ss"
#: What Celery's lines also carry for handlers that write all of a record (JSON, Sentry).
_PRIVATE = frozenset({"return_value", "args", "kwargs"})
_FORMATTER = logging.Formatter()
#: Ids that are remembered at the most.
_RETURNED_MAX = 10_000


class Returned:
    """Ids of messages that went back to their queue, the newest ones."""

    def __init__(self, most: int = _RETURNED_MAX) -> None:
        self._most = most
        self._ids: dict[str, None] = {}
        self._lock = threading.Lock()
        os.register_at_fork(after_in_child=self._forked)

    def add(self, message_id: str) -> None:
        """Note that a message went back; the oldest id makes room."""
        with self._lock:
            self._ids.pop(message_id, None)  # the newest one from now on
            if len(self._ids) >= self._most:
                del self._ids[next(iter(self._ids))]
            self._ids[message_id] = None

    def _forked(self) -> None:
        self._lock = threading.Lock()  # the fork may have copied it in its locked state

    def __contains__(self, message_id: object) -> bool:
        return message_id in self._ids


#: Of this process.
returned = Returned()
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
