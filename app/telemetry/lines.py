"""Lines of the log, whoever writes them: redacted, and with controls escaped that forge lines."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from typing import Any

from celery_agents.redaction import MOST, redact
from celery_agents.redaction.cleaning import brief
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
        told = copy.copy(record)
        told.msg, told.args = message_of(record), ()
        if record.exc_info and not record.exc_text:
            told.exc_text = self.inner.formatException(record.exc_info)
        if told.exc_text:
            told.exc_text = shown(told.exc_text)
        if told.stack_info:
            told.stack_info = shown(told.stack_info)
        for field in _FIELDS:
            if isinstance(text := getattr(record, field, None), str) and not text.isprintable():
                setattr(told, field, visible(text))
        return self.inner.format(told)


def message_of(record: logging.LogRecord) -> str:
    """The message of a record, as it may be shown."""
    if record.msg == _APPLY and isinstance(record.args, tuple) and record.args:
        return APPLY % shown(record.args[0])
    text = str(record.msg)
    if not record.args:
        return shown(text)
    if isinstance(record.args, Mapping):
        args: Any = brief(record.args)
    else:
        args = tuple(_brief(one) for one in record.args)
    try:
        return shown(text % args)
    except (KeyError, TypeError, ValueError):  # what was left out, or hidden, was no text
        return shown(record.getMessage())


def _brief(one: Any) -> Any:
    return brief(one) if isinstance(one, dict | list | tuple | str) else one


def shown(text: object) -> str:
    """A text without secrets and without controls that forge lines."""
    return visible_block(redact(text, limit=MOST))


def write_lines(logger: logging.Logger) -> None:
    """Have a logger's handlers write such lines."""
    for handler in logger.handlers:
        if not isinstance(handler.formatter, Lines):
            handler.setFormatter(Lines(handler.formatter or logging.Formatter()))


def hush_http() -> None:
    """URLs with their queries, headers and bodies are not logged at any level."""
    for name in HTTP_LOGGERS:
        logger = logging.getLogger(name)
        if logger.level != logging.WARNING:  # setting it clears what all loggers have cached
            logger.setLevel(logging.WARNING)
