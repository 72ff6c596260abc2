"""The client of Taskiq."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from bench.asyncio_driver import AsyncioDriver
from bench.contestants.taskiq import app
from bench.driver import TIMEOUT_S, Task

#: Sends and reads at a time: more only take turns on the loop.
_AT_ONCE = 50
#: Seconds between two looks for a result, which is how Taskiq waits for one.
_LOOK_S = 0.002


class Driver(AsyncioDriver):
    """``kiq`` and ``wait_result``."""

    def __init__(self) -> None:
        super().__init__()
        self.run(app.broker.startup())

    def steps(self, task: Task, values: Sequence[int]) -> list[Any]:
        """Send the task for each value, and wait for one result after the other."""
        return list(self.run(self._steps(getattr(app, task), values)))

    async def _steps(self, task: Any, values: Sequence[int]) -> list[Any]:
        sent = await self._send(task, values)
        return [(await one.wait_result(_LOOK_S, TIMEOUT_S)).return_value for one in sent]

    async def _send(self, task: Any, values: Sequence[int]) -> list[Any]:
        sent: list[Any] = []
        for start in range(0, len(values), _AT_ONCE):
            batch = values[start : start + _AT_ONCE]
            sent += await asyncio.gather(*(task.kiq(value) for value in batch))
        return sent

    def enqueue(self, count: int, way: str) -> None:  # noqa: ARG002
        """Send no-op tasks, a bounded number at a time."""
        self.run(self._send(app.noop, range(count)))

    async def aclose(self) -> None:
        """Shut the broker's client down."""
        await app.broker.shutdown()
