"""Lines of the log as JSON, one an event, for programs that collect them.

The standard library's formatter does it: all of our code, Celery and SDKs write by ``logging``, so
structlog would be a second way beside it, with these same records as its input.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from app.telemetry.bound import asking, bound, fields_of, lately
from app.telemetry.lines import message_of, shown

#: Fields of Celery's own records of a task, and their names here.
_CELERYS = {"id": "step_id", "name": "task", "runtime": "runtime_s"}


class JsonLines(logging.Formatter):
    """Formats a record as one JSON object, of texts that may be shown."""

    def format(self, record: logging.LogRecord) -> str:
        """Leave the record itself alone: other handlers get it, too."""
        told: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": message_of(record),
            **_about(record.args),
            "process": record.process,
        }
        if record.exc_info or record.exc_text:
            text = record.exc_text or self.formatException(record.exc_info)  # type: ignore[arg-type]
            told["error"] = shown(text)
        if record.stack_info:
            told["stack"] = shown(record.stack_info)
        return json.dumps(told, ensure_ascii=False)


def _about(args: Any) -> dict[str, Any]:
    """The step that a record is of: whose code runs, else what Celery says."""
    found: dict[str, Any] = {}
    if isinstance(args, Mapping):
        found = {name: args[key] for key, name in _CELERYS.items() if key in args}
        found |= lately.get(found.get("step_id")) or {}
        found = {k: shown(v) if isinstance(v, str) else v for k, v in found.items()}
    if (step := bound.get()) is not None:
        return found | step.fields()
    span = asking.get()
    return found if span is None else found | fields_of(span)
