"""The client's result backend: Celery's for Redis, which listens for a result once it is awaited.

Celery's own subscribes to the result before it sends the message, one round trip for each, and
with Redis away it tries that for twenty seconds.
"""

from __future__ import annotations

from typing import Any

from celery.backends.redis import RedisBackend


class Backend(RedisBackend):
    """Used by :class:`celery_agents.Client`."""

    def on_task_call(self, producer: Any, task_id: str) -> None:
        """Nothing yet: ``get`` subscribes, and looks whether the result is there already."""


def result_backend(url: str) -> str:
    """The setting for results at ``url``; other kinds of backends than Redis stay as they are."""
    redis = url.startswith(("redis://", "rediss://"))
    return f"{__name__}:{Backend.__name__}+{url}" if redis else url
