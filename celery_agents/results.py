"""The client's result backend: Celery's for Redis, which listens for a result once it is awaited.

Celery's own subscribes to the result before it sends the message, one round trip for each, and
with Redis away it tries that for twenty seconds.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from celery import states
from celery.backends.redis import RedisBackend


class Backend(RedisBackend):
    """Used by :class:`celery_agents.Client`."""

    def on_task_call(self, producer: Any, task_id: str) -> None:
        """Nothing yet: ``get`` subscribes, and looks whether the result is there already."""

    def ended(self, stored: Iterable[bytes | None]) -> dict[str, dict[str, Any]]:
        """What is stored of tasks that ended, by their ids; the others are left out."""
        metas = [self.decode_result(raw) for raw in stored if raw is not None]
        return {m["task_id"]: m for m in metas if m["status"] in states.READY_STATES}


def result_backend(url: str) -> str:
    """The setting for results at ``url``; other kinds of backends than Redis stay as they are."""
    redis = url.startswith(("redis://", "rediss://"))
    return f"{__name__}:{Backend.__name__}+{url}" if redis else url
