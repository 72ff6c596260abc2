"""Agents that are tasks of any Celery app on the same broker and result backend."""

from __future__ import annotations

import asyncio
from typing import Any

from celery import Celery, states
from kombu.exceptions import OperationalError

from agents.base import Answer, StepContext, Turn
from agents.catalog.entries import CeleryEntry
from agents.plain import plain_json
from agents.values import digest, shown
from celery_agents.contracts.outcome import Usage
from celery_agents.errors import AgentFailedError, ProviderUnavailableError, redact

#: Seconds between two looks at the result: soon at first, for quick tasks.
_LOOKS_S = (0.02, 0.5)


class CeleryBackend:
    """Sends the task to its queue under the call's idempotency key as id, and awaits its result.

    The other app needs the same Redis as its result backend. It gets the input as its only
    argument. A step that is tried again finds the result of the task that it sent before.
    """

    def __init__(self, app: Celery, entry: CeleryEntry) -> None:
        self._app = app
        self._entry = entry

    async def answer(self, turn: Turn, step: StepContext) -> Answer:
        async def perform(key: str) -> Answer:
            return await self._ask(turn, key)

        return await step.call(f"celery:{self._entry.task}", perform, fingerprint=digest(turn))

    async def aclose(self) -> None:
        """Nothing to free: the app's connections are the worker's."""

    async def _ask(self, turn: Turn, task_id: str) -> Answer:
        meta = await asyncio.to_thread(self._meta, task_id)
        if meta["status"] not in states.READY_STATES:
            await asyncio.to_thread(self._send, turn, task_id)
        try:
            async with asyncio.timeout(self._entry.result_timeout_s):
                meta = await self._result(task_id)
        except TimeoutError:
            raise ProviderUnavailableError(
                f"{self._entry.task} gave no result within {self._entry.result_timeout_s:g} s. "
                f"Does a worker serve its queue {self._entry.queue!r}?"
            ) from None
        if meta["status"] == states.SUCCESS:
            return self._answer(meta["result"])
        raise AgentFailedError(redact(f"{self._entry.task} failed: {meta['result']!r}"))

    def _answer(self, result: Any) -> Answer:
        """Dates, UUIDs, decimals and bytes of Celery's JSON become what functions' do."""
        try:
            return Answer(value=plain_json(result), usage=Usage(calls=1))
        except ValueError as error:
            raise AgentFailedError(
                f"{self._entry.task} answered with what cannot be kept: {shown(error)}",
                {"usage": {"calls": 1}},
            ) from None

    async def _result(self, task_id: str) -> dict[str, Any]:
        pause, longest = _LOOKS_S
        while True:
            meta = await asyncio.to_thread(self._meta, task_id)
            if meta["status"] in states.READY_STATES:
                return meta
            await asyncio.sleep(pause)
            pause = min(2 * pause, longest)

    def _meta(self, task_id: str) -> dict[str, Any]:
        meta: dict[str, Any] = self._app.backend.get_task_meta(task_id, cache=False)
        return meta

    def _send(self, turn: Turn, task_id: str) -> None:
        try:
            self._app.send_task(
                self._entry.task,
                args=[turn.input],
                task_id=task_id,
                queue=self._entry.queue,
                add_to_parent=False,
            )
        except OperationalError as error:
            raise ProviderUnavailableError(f"The broker took no task: {redact(error)}") from error
