"""OpenAI's Agents SDK. Its package has the name that the service's own has in a checkout."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOME = __name__.partition(".")[0]
_NAME = "agents"


def _sdk() -> Any:
    """The SDK's package.

    Raises:
        ImportError: it is not installed, or another package has its name.
    """
    if _HOME == _NAME:
        raise ImportError(
            "in a checkout of celery-agents the package `agents` is the service's own, which hides "
            "the one of the SDK: run the worker from an installed wheel, celery -A "
            "celery_agents.service worker"
        )
    found = import_module(_NAME)
    if not hasattr(found, "Runner"):
        raise ImportError(
            "the package `agents` is not the SDK's: another one of that name stands before it"
        )
    return found


SDK: Any = _sdk()
