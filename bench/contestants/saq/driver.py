"""The client of SAQ."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from bench.asyncio_driver import AsyncioDriver
from bench.contestants.saq import app
from bench.driver import TIMEOUT_S, Task

#: Seconds between two looks for results: of many, and of a lone one. (Its publish and subscribe
#: may miss a result that comes at once.)
_LOOKS_S = (0.05, 0.002)


class Driver(AsyncioDriver):
    """``map``, which sends all and looks for the results."""

    def __init__(self) -> None:
        super().__init__()
        self.run(app.queue.connect())

    def steps(self, task: Task, values: Sequence[int]) -> list[Any]:
        """Enqueue a job for each value by ``map``, which waits for all results."""
        asked = [{"value": value} for value in values]
        look_s = _LOOKS_S[len(asked) == 1]
        mapped = app.queue.map(task, asked, timeout=TIMEOUT_S, poll_interval=look_s)
        return list(self.run(mapped))

    def enqueue(self, count: int, way: str) -> None:  # noqa: ARG002
        """Enqueue no-op jobs, all at once on the loop."""
        self.run(self._enqueue(count))

    async def _enqueue(self, count: int) -> None:
        await asyncio.gather(*(app.queue.enqueue("noop", value=value) for value in range(count)))

    async def aclose(self) -> None:
        """Disconnect from the queue."""
        await app.queue.disconnect()
