"""Lines of the log, whoever writes them: redacted, and with controls escaped that forge lines."""

from __future__ import annotations

import copy
import logging
from typing import Any

from celery import signals

from celery_agents.redaction import MOST, redact
from celery_agents.visible import visible, visible_block

#: HTTP clients and SDKs tell whole URLs at INFO, and what they send and get at DEBUG.
HTTP_LOGGERS = ("httpx", "httpx2", "httpcore", "httpcore2", "openai", "anthropic", "urllib3")
#: Celery's line at DEBUG has all that a task was sent.
_APPLY = "TaskPool: Apply %s (args:%s kwargs:%s)"
APPLY = "TaskPool: Apply %s"
#: Fields that lines may name and others may have written.
_FIELDS = ("task_id", "task_name", "name", "processName", "threadName", "taskName")


class Lines(logging.Formatter):
    """Formats a record as another formatter does, of texts that may be shown."""

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self.inner = inner

    def format(self, record: logging.LogRecord) -> str:
        """Leave the record itself alone: other handlers get it, too."""
        shown = copy.copy(record)
        shown.msg, shown.args = _message(record), ()
        if record.exc_info and not record.exc_text:
            shown.exc_text = self.inner.formatException(record.exc_info)
        if shown.exc_text:
            shown.exc_text = _shown(shown.exc_text)
        if shown.stack_info:
            shown.stack_info = _shown(shown.stack_info)
        for field in _FIELDS:
            if isinstance(text := getattr(record, field, None), str) and not text.isprintable():
                setattr(shown, field, visible(text))
        return self.inner.format(shown)


def _message(record: logging.LogRecord) -> str:
    if record.msg == _APPLY and isinstance(record.args, tuple) and record.args:
        return APPLY % _shown(record.args[0])
    return _shown(record.getMessage())


def _shown(text: object) -> str:
    return visible_block(redact(text, limit=MOST))


def write_lines(logger: logging.Logger) -> None:
    """Have a logger's handlers write such lines."""
    for handler in logger.handlers:
        if not isinstance(handler.formatter, Lines):
            handler.setFormatter(Lines(handler.formatter or logging.Formatter()))


def hush_http() -> None:
    """URLs with their queries, headers and bodies are not logged at any level."""
    for name in HTTP_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)


@signals.after_setup_logger.connect
@signals.after_setup_task_logger.connect
def _set_up(logger: logging.Logger | None = None, **_: Any) -> None:
    hush_http()
    if logger is not None:
        write_lines(logger)
        write_lines(logging.getLogger())
