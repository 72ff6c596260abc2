"""Tasks of which a client of 2026-07-28 is told, with ``taskIds`` of its subscription.

What is told is the task as *tasks/get* has it, whenever its state changes, or what it asks for.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, Literal

from mcp import types
from mcp.shared.exceptions import MCPError
from pydantic import ConfigDict
from redis.exceptions import RedisError

from api.mcp.callers import Caller
from api.mcp.configured import Configured
from api.mcp.journaled import has_extension, shown, task_of
from api.mcp.listening.marks import Watch
from api.mcp.listening.subscribed import URIS_MAX
from api.mcp.states import ASKING, WORKING
from api.problems import ProblemError
from celery_agents.errors import AgentsError
from celery_agents.noted import noting

log = logging.getLogger(__name__)

_UNDER_WAY = frozenset({WORKING, ASKING})
#: The mark of a task that is to be looked at, whatever its own is.
_ANEW = "anew"


class ToldTask(types.NotificationParams):
    """A task as the extension has it; its fields stand beside ``_meta``."""

    model_config = ConfigDict(extra="allow")


class TaskNotification(types.Notification[ToldTask, Literal["notifications/tasks"]]):
    """A task has another state."""

    method: Literal["notifications/tasks"] = "notifications/tasks"
    params: ToldTask


def wanted(ctx: Any) -> list[str]:
    """The ids of tasks in the filter of a subscription, as its sender wrote them."""
    told = (ctx.params or {}).get("notifications")
    ids = told.get("taskIds") if isinstance(told, dict) else None
    if not isinstance(ids, list) or not has_extension(ctx):
        return []
    return [*dict.fromkeys(one for one in ids if isinstance(one, str))][:URIS_MAX]


class TaskWatch:
    """Looks at tasks of one principal; those that there are not for it are left out."""

    def __init__(self, caller: Caller, configured: Callable[[], Configured]) -> None:
        self._caller = caller
        self._watch = Watch(caller, configured, {})
        self._told: dict[str, Any] = {}

    async def begin(self, ids: Sequence[str]) -> list[str]:
        """The tasks that are told of from now on."""
        await self._watch.look((), map(_address, ids))  # first: what changes behind it is told
        for task_id in ids:
            self._watch.known.setdefault(_address(task_id), _ANEW)
            try:
                self._told[task_id] = _state(await self._shown(task_id))
            except (MCPError, ProblemError):
                continue
        return [*self._told]

    async def changed(self) -> list[dict[str, Any]]:
        """Tasks whose state is another one than at the last look; ended ones once."""
        addresses = {_address(task_id): task_id for task_id in self._told}
        moved = await self._watch.look((), addresses)
        found = []
        for address in moved:
            task_id = addresses[address]
            mark, self._watch.known[address] = self._watch.known[address], _ANEW
            text = "Of a task it is not known how far it is"
            with noting(log, "mcp_task", text, ProblemError, AgentsError, RedisError):
                try:
                    task = await self._shown(task_id)
                except MCPError:  # it is not kept any more
                    del self._told[task_id]
                    continue
                self._watch.known[address] = mark
                if _state(task) != self._told[task_id]:
                    self._told[task_id] = _state(task)
                    found.append(task)
                if task["status"] not in _UNDER_WAY:
                    del self._told[task_id]
        return found

    async def _shown(self, task_id: str) -> dict[str, Any]:
        return await shown(self._caller, await task_of(self._caller, task_id), core=False)


def _address(task_id: str) -> str:
    return f"run://{task_id}"


def _state(task: dict[str, Any]) -> tuple[str, list[str]]:
    return task["status"], sorted(task.get("inputRequests", ()))


def notification_of(task: dict[str, Any], about: dict[str, Any]) -> TaskNotification:
    """The notification that tells a task."""
    return TaskNotification(params=ToldTask.model_validate({"_meta": about, **task}))
