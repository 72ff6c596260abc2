"""The client's result backend: Celery's for Redis, which listens for a result once it is awaited.

Celery's own subscribes to the result before it sends the message, one round trip for each, and
with Redis away it tries that for twenty seconds.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from celery import states
from celery.backends.redis import RedisBackend
from kombu.exceptions import DecodeError


class Backend(RedisBackend):
    """Used by :class:`celery_agents.Client`."""

    def on_task_call(self, producer: Any, task_id: str) -> None:
        """Nothing yet: ``get`` subscribes, and looks whether the result is there already."""

    def decode(self, payload: Any) -> Any:
        """As Celery's; a result that looks like a type which kombu does not know stays as it is."""
        try:
            return super().decode(payload)
        except DecodeError:
            return json.loads(payload)

    def known(self, task_id: str) -> dict[str, Any]:
        """What is stored of a task, by one look; empty when nothing is."""
        raw = self.client.get(self.get_key_for_task(task_id))
        return {} if raw is None else self.decode_result(raw)

    def ended(self, stored: Iterable[bytes | None]) -> dict[str, dict[str, Any]]:
        """What is stored of tasks that ended, by their ids; the others are left out."""
        metas = [self.decode_result(raw) for raw in stored if raw is not None]
        return {m["task_id"]: m for m in metas if m["status"] in states.READY_STATES}


def result_backend(url: str) -> str:
    """The setting for results at ``url``; other kinds of backends than Redis stay as they are."""
    redis = url.startswith(("redis://", "rediss://"))
    return f"{__name__}:{Backend.__name__}+{url}" if redis else url
