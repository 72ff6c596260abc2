"""Agents that are tasks of any Celery app on the same broker."""

from __future__ import annotations

import asyncio
import logging
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

from celery import Celery, states
from celery.app.backends import by_url
from celery.exceptions import ImproperlyConfigured
from kombu.exceptions import OperationalError

from agents.base import Answer, StepContext, Turn
from agents.catalog.entries import CeleryEntry
from agents.net.clients import ResolveSecret, secret_named
from agents.plain import plain_json
from agents.values import digest, shown
from app.concurrency.fibers import in_thread
from app.concurrency.loop import process_loop
from app.execution.others.lookout import Lookout
from celery_agents.contracts.flows.task import TaskArguments
from celery_agents.contracts.outcome import Usage
from celery_agents.contracts.teams.spec import AgentSpec
from celery_agents.errors import (
    AgentFailedError,
    ConfigurationError,
    InvalidPayloadError,
    ProviderUnavailableError,
    redact,
)
from celery_agents.noted import noting

log = logging.getLogger(__name__)

#: Seconds between two looks at the result: soon at first, for quick tasks.
_LOOKS_S = (0.02, 0.5)


@runtime_checkable
class Ending(Protocol):
    """A step that can tell whether it ends without the result that it waits for."""

    @property
    def over(self) -> bool:
        """True when nobody goes on with what it waits for."""
        ...


@runtime_checkable
class Talking(Protocol):
    """A step whose run may go on with a session."""

    #: Its part in it; None: it has none.
    talk: object


class CeleryBackend:
    """Sends the task to its queue under the call's idempotency key as id, and awaits its result.

    A step that is tried again finds the result of the task that it sent before. One that ends
    without it, being cancelled or late, revokes the task.
    """

    def __init__(self, app: Celery, entry: CeleryEntry, resolve_secret: ResolveSecret) -> None:
        self._app = app
        self._entry = entry
        self._resolve_secret = resolve_secret

    async def answer(self, turn: Turn, step: StepContext) -> Answer:
        """Run the task with the input as its only argument.

        Raises:
            InvalidPayloadError: it is given a conversation, of which a task would see nothing.
        """
        in_session = isinstance(step, Talking) and step.talk is not None
        if turn.messages or in_session:
            raise InvalidPayloadError(
                "A task of another app gets its input alone, without a session: give the "
                "conversation as the input."
            )
        return await self.run(TaskArguments(args=(turn.input,)), step, digest(turn))

    def refusal(self, spec: AgentSpec) -> str | None:
        """Return that it cannot be narrowed, unless the spec gives it a name alone."""
        return "a task of another app gets its input alone" if spec.narrows else None

    async def run(self, given: TaskArguments, step: StepContext, fingerprint: str) -> Answer:
        """Send the task and await its result; revoke it when nobody goes on with it."""

        async def perform(key: str) -> Answer:
            try:
                return await self._ask(given, key)
            except (asyncio.CancelledError, ProviderUnavailableError):
                if isinstance(step, Ending) and step.over:
                    # Not awaited: this coroutine is being cancelled.
                    process_loop().slow.submit(self._revoke, key)
                raise

        return await step.call(f"celery:{self._entry.task}", perform, fingerprint=fingerprint)

    async def aclose(self) -> None:
        """Nothing to free: the app's connections are the worker's."""

    async def _ask(self, given: TaskArguments, task_id: str) -> Answer:
        meta = await in_thread(self._meta, task_id)
        if meta["status"] not in states.READY_STATES:
            if self._entry.effects == "effect":
                await self._lookout.check()
            await in_thread(self._send, given, task_id)
        try:
            async with asyncio.timeout(self._entry.result_timeout_s):
                meta = await self._result(task_id)
        except TimeoutError:
            raise ProviderUnavailableError(
                f"{self._entry.task} gave no result within {self._entry.result_timeout_s:g} s. "
                f"Does a worker serve its queue {self._entry.queue!r}?"
            ) from None
        self._lookout.came()
        if meta["status"] == states.SUCCESS:
            return self._answer(meta["result"])
        raise AgentFailedError(redact(f"{self._entry.task} failed: {meta['result']!r}"))

    def _answer(self, result: Any) -> Answer:
        """Convert dates, UUIDs, decimals and bytes of Celery's JSON as those of functions are."""
        try:
            return Answer(value=plain_json(result), usage=Usage(calls=1))
        except ValueError as error:
            raise AgentFailedError(
                f"{self._entry.task} answered with what cannot be kept: {shown(error)}",
                {"usage": {"calls": 1}},
            ) from None

    async def _result(self, task_id: str) -> dict[str, Any]:
        pause, longest = _LOOKS_S
        with self._lookout.over(task_id):
            while True:
                meta = await in_thread(self._meta, task_id)
                if meta["status"] in states.READY_STATES:
                    return meta
                self._lookout.raise_for(task_id)
                await asyncio.sleep(pause)
                pause = min(2 * pause, longest)

    @cached_property
    def _lookout(self) -> Lookout:
        url = self._url or self._app.agents_settings.redis_url.get_secret_value()
        return Lookout(self._app, self._entry, url)

    @cached_property
    def _url(self) -> str | None:
        """Return where its app keeps its results; None: where this service does."""
        if (name := self._entry.result_url_env) is not None:
            return secret_named(name, self._resolve_secret, purpose="result_url_env")
        return self._entry.result_url

    @property
    def _results(self) -> Any:
        """The backend with its results."""
        return self._app.backend if self._url is None else self._elsewhere

    @cached_property
    def _elsewhere(self) -> Any:
        try:
            backend, url = by_url(self._url)
            return backend(app=self._app, url=url)
        except (ImproperlyConfigured, ImportError) as error:
            raise ConfigurationError(
                f"result_url of the task {self._entry.task} cannot be used: {redact(error)}"
            ) from error

    def _meta(self, task_id: str) -> dict[str, Any]:
        meta: dict[str, Any] = self._results.get_task_meta(task_id, cache=False)
        return meta

    def _send(self, given: TaskArguments, task_id: str) -> None:
        try:
            self._app.send_task(
                self._entry.task,
                args=given.args,
                kwargs=given.kwargs,
                task_id=task_id,
                queue=self._entry.queue,
                add_to_parent=False,
            )
        except OperationalError as error:
            raise ProviderUnavailableError(f"The broker took no task: {redact(error)}") from error

    def _revoke(self, task_id: str) -> None:
        """Revoke the task by Celery's own command, which the workers of every app know."""
        with noting(log, "revoke", "A task of another app was not revoked"):
            self._app.control.revoke(task_id, terminate=self._entry.terminate)
