"""Arguments as people may see them in Flower and logs: short and redacted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from celery_agents.errors import redact

#: Characters of one argument that are shown.
SHOWN = 80


def shown_args(args: Iterable[Any]) -> str:
    """Positional arguments, each cut."""
    return f"({', '.join(_short(a) for a in args)})"


def shown_kwargs(kwargs: Mapping[str, Any]) -> str:
    """Keyword arguments, each cut."""
    return f"{{{', '.join(f'{k}: {_short(v)}' for k, v in kwargs.items())}}}"


def _short(value: Any) -> str:
    # Cut before and after: a long value is not searched for secrets beyond what may be shown.
    return redact(repr(value)[: 4 * SHOWN], limit=SHOWN)
