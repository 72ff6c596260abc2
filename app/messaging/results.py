"""Celery's Redis result backend, with joins in the journal and outcomes beside results."""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from celery.exceptions import BackendStoreError
from celery.states import SUCCESS
from redis.exceptions import RedisError

from app.concurrency.batcher import Batches
from app.concurrency.fibers import blocking, wait
from app.concurrency.per_process import PerProcess
from celery_agents import names
from celery_agents.noted import note
from celery_agents.packed import exchange
from celery_agents.sealing import RESULT, sealed_value
from celery_agents.transport import kombu_json
from celery_agents.wire.results import AddressBackend

log = logging.getLogger(__name__)

#: Results in one write to Redis.
RESULTS_MAX = 500


@dataclass(slots=True)
class Reported:
    """Notes between a step's task and this backend; they stand on Celery's request."""

    outcome: dict[str, Any] | None = None  # of the step, stored beside its result
    token: int | None = None  # of the row's end that is to be settled
    settled: bool = False  # nothing is left to settle
    unstored: bool = False  # the result could not be stored: recovery has it done


def reported(request: Any) -> Reported:
    """Return the notes on a request, empty ones at first."""
    found: Reported | None = getattr(request, "agents_reported", None)
    if found is None:
        found = request.agents_reported = Reported()
    return found


def _outcome(request: Any) -> dict[str, Any] | None:
    found: Reported | None = getattr(request, "agents_reported", None)
    return None if found is None else found.outcome


def _ours(request: Any) -> bool:
    """Return whether it is a member, or of a question to the service: others have no keys."""
    return request is not None and request.task in _OURS


#: Tasks whose results are read by our clients.
_OURS = frozenset({*names.STEP_TASKS, *names.CONTROL_TASKS})


def _journaled(signature: Any) -> bool:
    """Return whether a chord's body is a step whose join stands in the journal."""
    options = signature.get("options") if isinstance(signature, dict) else None
    return bool(options and (options.get("headers") or {}).get(names.JOURNALED))


class JournalBackend(AddressBackend):
    """Chords of journaled steps are counted by their finishes, in the same transaction.

    All other chords (of other apps, or built by a client) are Celery's own.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._results: PerProcess[Batches[tuple[bytes, str]]] = PerProcess()

    def store_result(
        self,
        task_id: str,
        result: Any,
        state: Any,
        traceback: Any = None,
        request: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Store a result; a Redis that is full or away does not cost the worker a slot.

        Celery's threads pool never frees the slot of a task whose result cannot be stored. Here
        the outcome stands in the journal already; the row stays unsettled, so recovery has the
        result stored later.
        """
        try:
            if _outcome(request) is not None:
                return self._store_outcome(task_id, result, state, traceback, request)
            store = partial(super().store_result, request=request, **kwargs)
            told = result
            if state == SUCCESS:
                seals = self.seals if self.seals is not None and _ours(request) else None
                told = sealed_value(seals, result, task_id, RESULT)
            blocking(store, task_id, told, state, traceback)
        except (RedisError, BackendStoreError) as error:
            if request is not None:
                reported(request).unstored = True
            note(log, "result", "The result of %s was not stored yet", task_id, error=error)
        return result

    def _store_outcome(
        self, task_id: str, result: Any, state: Any, traceback: Any, request: Any
    ) -> Any:
        """Store a step's result, in one write with those of others.

        Celery looks first whether a success stands there already. A row ends once, so what is
        written here is always the same.
        """
        result = told = self.encode_result(result, state)
        if state == SUCCESS:
            told = sealed_value(self.seals, result, task_id, RESULT)
        meta = self._get_result_meta(told, state, traceback, request)
        meta["task_id"] = task_id
        quick = self.serializer == "json" and not self.compression
        written = kombu_json(meta) if quick else self.encode(meta)
        wait(self._batches().submit((self.get_key_for_task(task_id), written)))
        return result

    def _batches(self) -> Batches[tuple[bytes, str]]:
        return self._results.value or self._results.get(
            lambda: Batches("agents-results", self._write, RESULTS_MAX)
        )

    @functools.cached_property
    def _extended(self) -> bool:
        """Celery's ``result_extended``, looked up once."""
        return bool(self.app.conf.find_value_for_key("extended", "result"))

    def _write(self, results: Sequence[tuple[bytes, str]]) -> list[Exception | None]:
        lasts = ("EX", self.expires) if self.expires else ()
        commands: list[tuple[Any, ...]] = []
        for key, value in results:
            commands += ("SET", key, value, *lasts), ("PUBLISH", key, value)
        answers = exchange(self.client, commands)
        return [a if isinstance(a, Exception) else None for a in answers[::2]]

    def apply_chord(self, header_result_args: Any, body: Any, **kwargs: Any) -> Any:
        """Prepare nothing in Redis when the join stands in the journal."""
        if not _journaled(body):
            super().apply_chord(header_result_args, body, **kwargs)

    def on_chord_part_return(self, request: Any, state: Any, result: Any, **kwargs: Any) -> Any:
        """Leave journaled members: they were counted at their end; others are Celery's business."""
        if not _journaled(request.chord):
            blocking(self._tell_on, request)
            part = partial(super().on_chord_part_return, **kwargs)
            blocking(part, request, state, result)

    def _tell_on(self, request: Any) -> None:
        """Have the body of a chord, which its last part sends, say what one of them had read."""
        if not (request.group and request.chord):
            return
        key = names.UNTRUSTED_GROUP + request.group
        if request.get(names.UNTRUSTED):
            self.client.set(key, 1, ex=self.expires or None)
        elif not self.client.exists(key):
            return
        options = request.chord.setdefault("options", {})
        options["headers"] = {**(options.get("headers") or {}), names.UNTRUSTED: 1}

    def _get_result_meta(
        self, result: Any, state: Any, traceback: Any, request: Any, **kwargs: Any
    ) -> dict[str, Any]:
        """Add to the stored result what it cost and took (``Run.outcome`` reads it)."""
        outcome = _outcome(request)
        if outcome is None or self._extended:
            full = super()._get_result_meta(result, state, traceback, request, **kwargs)
            meta: dict[str, Any] = full
        else:  # the same, without looking up settings and time zones
            meta = {
                "status": state,
                "result": result,
                "traceback": traceback,
                "children": self.current_task_children(request),
                "date_done": datetime.now(UTC).isoformat(),
            }
            about = {"group_id": request.group, "parent_id": request.parent_id}
            meta |= {name: value for name, value in about.items() if value}
        if outcome is not None:
            meta["outcome"] = {k: v for k, v in outcome.items() if k != "value"}
            if (asked := request.get(names.PAYLOAD)) is not None:
                meta[names.PAYLOAD] = asked
        elif tenant := getattr(request, names.TENANT, None):  # Celery has requests of two classes
            meta[names.TENANT] = tenant  # of one that was refused there is no row that says it
        return meta
