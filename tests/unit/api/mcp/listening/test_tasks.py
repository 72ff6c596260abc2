"""A client is told of its tasks also where the journal was away as they changed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from mcp.shared.exceptions import MCPError

from api.mcp.configured import Configured
from api.mcp.listening import tasks
from api.mcp.listening.tasks import TaskWatch
from app.journal.queries.pages import Pulse
from celery_agents.errors import JournalUnavailableError
from tests.unit.api.mcp.listening.test_marks import RUN, Journal, watched


class Scene:
    """A task as it is read; ``error``: what reading it raises meanwhile."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.journal = Journal()
        self.status = "working"
        self.error: Exception | None = None
        self.watch = TaskWatch(watched(self.journal)._caller, Configured)
        monkeypatch.setattr(tasks, "task_of", self._task_of)
        monkeypatch.setattr(tasks, "shown", self._shown)

    async def _task_of(self, *_: Any) -> dict[str, Any]:
        if self.error is not None:
            raise self.error
        return {}

    async def _shown(self, *_: Any, **__: Any) -> dict[str, Any]:
        return {"taskId": RUN, "status": self.status}

    def end(self) -> None:
        """The run ends."""
        self.journal.pulse, self.status = Pulse(True, ((1,),)), "completed"

    async def told(self) -> list[str]:
        """The states that are told now."""
        return [task["status"] for task in await self.watch.changed()]


def test_what_could_not_be_read_as_it_changed_is_told_afterwards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scene() -> None:
        one = Scene(monkeypatch)
        assert await one.watch.begin([RUN]) == [RUN]
        assert await one.told() == []
        one.end()
        one.error = JournalUnavailableError("away")
        assert await one.told() == []
        one.error = None
        assert await one.told() == ["completed"]
        assert await one.told() == []

    asyncio.run(scene())


def test_what_changed_before_its_first_look_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        one = Scene(monkeypatch)
        one.journal.away = True
        assert await one.watch.begin([RUN]) == [RUN]
        one.journal.away = False
        one.end()
        assert await one.told() == ["completed"]

    asyncio.run(scene())


def test_one_that_is_not_kept_any_more_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        one = Scene(monkeypatch)
        await one.watch.begin([RUN])
        one.journal.pulse = Pulse(False, ((1,),))
        one.error = MCPError(-32602, "There is no such task.")
        assert await one.told() == []
        one.error, looks = None, one.journal.looks
        assert await one.told() == []
        assert one.journal.looks == looks

    asyncio.run(scene())
