"""Celery's Redis result backend, with joins in the journal and outcomes beside results."""

from __future__ import annotations

import logging
from typing import Any

from celery.backends.redis import RedisBackend
from celery.exceptions import BackendStoreError
from redis.exceptions import RedisError

from celery_agents import names
from celery_agents.errors import redact

log = logging.getLogger(__name__)


def _journaled(signature: Any) -> bool:
    """Whether a chord's body is a step whose join stands in the journal."""
    options = signature.get("options") if isinstance(signature, dict) else None
    return bool(options and (options.get("headers") or {}).get(names.JOURNALED))


class JournalBackend(RedisBackend):
    """Chords of journaled steps are counted by their finishes, in the same transaction.

    All other chords (of other apps, or built by a client) are Celery's own.
    """

    def store_result(self, task_id: str, result: Any, state: Any, *args: Any, **kwargs: Any) -> Any:
        """Store a result; a Redis that is full or away does not cost the worker a slot.

        Celery's threads pool never frees the slot of a task whose result cannot be stored. Here
        the outcome stands in the journal already; the row stays unsettled, so recovery has the
        result stored later.
        """
        try:
            return super().store_result(task_id, result, state, *args, **kwargs)
        except (RedisError, BackendStoreError) as error:
            request = kwargs.get("request")
            if request is not None:
                request.agents_unstored = True
            log.warning("The result of %s was not stored yet: %s", task_id, redact(error))
            return result

    def apply_chord(self, header_result_args: Any, body: Any, **kwargs: Any) -> Any:
        """Nothing to prepare in Redis when the join stands in the journal."""
        if not _journaled(body):
            super().apply_chord(header_result_args, body, **kwargs)

    def on_chord_part_return(self, request: Any, state: Any, result: Any, **kwargs: Any) -> Any:
        """A journaled member was counted when it finished; others are Celery's business."""
        if not _journaled(request.chord):
            super().on_chord_part_return(request, state, result, **kwargs)

    def _get_result_meta(
        self, result: Any, state: Any, traceback: Any, request: Any, **kwargs: Any
    ) -> dict[str, Any]:
        """The stored result also says what it cost and took (``Run.outcome`` reads it)."""
        meta: dict[str, Any] = super()._get_result_meta(result, state, traceback, request, **kwargs)
        outcome = getattr(request, "agents_outcome", None)
        if outcome is not None:
            meta["outcome"] = {k: v for k, v in outcome.items() if k != "value"}
        return meta
