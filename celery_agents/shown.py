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
    """Keyword arguments, each cut, and hidden where their name says that they are secret."""
    return f"{{{', '.join(_short(v, f'{k}: ') for k, v in kwargs.items())}}}"


def _short(value: Any, name: str = "") -> str:
    if value is None or type(value) in {bool, float}:
        return f"{name}{value!r}"
    return redact(f"{name}{value!r}", limit=len(name) + SHOWN)
