"""Many requests of one turn of the loop, served by one round trip."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar, cast

T = TypeVar("T")


class LoopTurn(Generic[T]):
    """Gathers what is asked for while the last batch is under way.

    Args:
        work: serves a batch.
        refuse: is told of one whose batch failed.
        most: of one batch.
        at_once: batches under way.
    """

    def __init__(
        self,
        work: Callable[[list[T]], Awaitable[None]],
        refuse: Callable[[T, Exception], None],
        most: int,
        at_once: int = 1,
    ) -> None:
        self._work, self._refuse, self._most, self._at_once = work, refuse, most, at_once
        self._items: list[T] = []
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def waiting(self) -> int:
        """How many wait for their batch to begin."""
        return len(self._items)

    def add(self, item: T) -> None:
        """Serve it with the next batch."""
        self._items.append(item)
        if len(self._items) == 1 and len(self._tasks) < self._at_once:
            self._tasks.add(asyncio.get_running_loop().create_task(self._run()))

    async def close(self) -> None:
        """Wait for what is under way."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _run(self) -> None:
        try:
            await asyncio.sleep(0)  # others of this turn come along
            while self._items:
                batch, self._items = self._items[: self._most], self._items[self._most :]
                try:
                    await self._work(batch)
                except Exception as error:  # noqa: BLE001 - each of them is told
                    for item in batch:
                        self._refuse(item, error)
        finally:  # before anybody can add another one
            self._tasks.discard(cast("asyncio.Task[None]", asyncio.current_task()))
