"""How the processes of the service write their log: text or JSON, and redacted either way."""

from __future__ import annotations

import logging
from typing import Any, Literal

from celery import current_app, signals

from app.telemetry.json_lines import JsonLines
from app.telemetry.lines import hush_http, write_lines
from app.telemetry.logs import tell_begins

Form = Literal["text", "json"]


def set_up(logger: logging.Logger, form: Form) -> None:
    """Have a logger's handlers write lines of this form."""
    hush_http()
    if form == "text":
        write_lines(logger)
        return
    for handler in logger.handlers:
        if not isinstance(handler.formatter, JsonLines):
            handler.setFormatter(JsonLines())


def set_up_root(form: Form) -> None:
    """Write this process's log to its standard error stream, as a process without Celery does."""
    logging.basicConfig(level=logging.INFO, format="[%(asctime)s: %(levelname)s] %(message)s")
    set_up(logging.getLogger(), form)


def write_log() -> None:
    """Have Celery's processes write their log as the settings say, once it is set up."""
    signals.after_setup_logger.connect(_set_up)
    signals.after_setup_task_logger.connect(_set_up)


def _set_up(logger: logging.Logger | None = None, **_: Any) -> None:
    settings = getattr(current_app._get_current_object(), "agents_settings", None)  # noqa: SLF001 - Celery's way to it
    form: Form = "text" if settings is None else settings.log
    if form == "json":
        tell_begins()
    for one in (logger, logging.getLogger()):
        if one is not None:
            set_up(one, form)
