"""A lookout for results of another app's tasks: it finds out, during the wait, if none can come."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

from celery import Celery

from agents.catalog.entries import CeleryEntry
from app.concurrency.fibers import in_thread
from app.execution.others import neighbours
from app.messaging.intake import Intake
from app.messaging.redis import connect_redis
from celery_agents.errors import ConfigurationError
from celery_agents.noted import note

log = logging.getLogger(__name__)

#: A task is looked after when it took longer than this; then each look comes after twice the time.
FIRST_S, LONGEST_S = 1.0, 60.0
#: Tasks that one look is about: the oldest ones.
_MOST = 100
#: Where plain kombu keeps what a worker took and has not acknowledged; more than so many are not
#: looked through.
_UNACKED, _UNACKED_MOST = "unacked", 5000


class Lookout:
    """Looks after the tasks of one entry, all of a process in one go.

    ``results`` is the URL where their results are looked for.
    """

    def __init__(self, app: Celery, entry: CeleryEntry, results: str) -> None:
        self._app = app
        self._entry = entry
        self._results = results
        self._waiting: dict[str, float] = {}  # since when
        self._reasons: dict[str, str] = {}
        self._suspects: set[str] = set()  # of the last look
        self._proved = self._checked = False
        self._pause = FIRST_S
        self._loop: asyncio.Task[None] | None = None
        self._checking = asyncio.Lock()

    def came(self) -> None:
        """Note that a result came: results do arrive here."""
        self._proved = True

    async def check(self) -> None:
        """Look before a task with an effect is sent for nothing, once no result has come yet.

        Raises:
            ConfigurationError: its result cannot be read.
        """
        async with self._checking:
            if self._proved or self._checked:
                return
            found = await in_thread(neighbours.look, self._app, self._entry.queue, slow=True)
            if reason := self._complaint(found):
                raise self._error(reason)
            self._checked = bool(found.workers)

    @contextmanager
    def over(self, task_id: str) -> Iterator[None]:
        """Watch a task while the block waits for it."""
        self._waiting[task_id] = time.monotonic()
        self._pause = LONGEST_S / 2 if self._proved else FIRST_S
        if self._loop is None or self._loop.done():
            self._loop = asyncio.create_task(self._look_again())
        try:
            yield
        finally:
            self._waiting.pop(task_id, None)
            self._reasons.pop(task_id, None)

    def raise_for(self, task_id: str) -> None:
        """Raise an error if something was found out about the task.

        Raises:
            ConfigurationError: its result will not come.
        """
        if reason := self._reasons.get(task_id):
            raise self._error(reason)

    def _error(self, reason: str) -> ConfigurationError:
        return ConfigurationError(f"No result of {self._entry.task} can come: {reason}.")

    async def _look_again(self) -> None:
        while self._waiting:
            await asyncio.sleep(self._pause)
            self._pause = min(2 * self._pause, LONGEST_S)
            since = time.monotonic() - FIRST_S
            ids = [*islice((i for i, at in self._waiting.items() if at <= since), _MOST)]
            if not ids:
                continue
            try:
                self._reasons |= await in_thread(self._look, ids, slow=True)
            except Exception as error:  # noqa: BLE001 - then the result's own time holds
                note(log, "lookout", "Nobody could be asked about results", error=error)

    def _look(self, ids: list[str]) -> dict[str, str]:
        """Return the reasons why results of these tasks will not come, by their ids."""
        found = neighbours.look(self._app, self._entry.queue)
        if reason := self._complaint(found):
            return dict.fromkeys(ids, reason)
        gone = self._gone(found, ids) if found.workers else set()
        # Twice in a row: it may have been on its way between queue and worker.
        lost, self._suspects = gone & self._suspects, gone
        text = (
            "it has ended, and left no result where it is looked for; its app keeps results "
            "elsewhere (name it as result_url of the agent's entry), or ignores them"
        )
        return dict.fromkeys(lost, text)

    def _complaint(self, found: neighbours.Neighbours) -> str | None:
        return neighbours.complaint(self._entry.task, self._results, found)

    def _gone(self, found: neighbours.Neighbours, ids: list[str]) -> set[str]:
        """Return the tasks that no worker has and that wait for none: they have ended."""
        known = neighbours.known_there(self._app, found.workers, ids)
        rest = set(ids) - (known or set())
        if known is None or not rest:
            return set()
        settings = self._app.agents_settings
        with connect_redis(settings) as redis:
            if Intake(redis).depth(self._entry.queue):
                return set()
            taken: Any = redis.hlen(_UNACKED)
            if taken > _UNACKED_MOST:
                return set()
            messages: Any = redis.hvals(_UNACKED)
            return neighbours.left(rest, messages)
