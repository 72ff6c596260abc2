"""Threads for what blocks: neither more calls than a bound wait for one, nor one for ever.

A database or a worker that does not answer, and is not gone either, would have each request wait,
and the process's memory grow with them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar, cast

T = TypeVar("T")


class BoundedThreads:
    """Runs calls in threads.

    Args:
        threads: calls at a time.
        name: of the threads.
        most: calls that are under way or wait; one more is refused at once.
        within_s: a call that takes longer is given up, and goes on by itself.
        refusal: makes the error of a call that is refused or given up.
    """

    def __init__(
        self,
        threads: int,
        name: str,
        *,
        most: int,
        within_s: float,
        refusal: Callable[[], Exception],
    ) -> None:
        self._threads = ThreadPoolExecutor(threads, name)
        self._most, self._within_s, self._refusal = most, within_s, refusal
        self._count = 0

    async def run(self, work: Callable[[], T]) -> T:
        """Run a call; raises what it raises, or the refusal."""
        if self._count >= self._most:
            raise self._refusal()
        self._count += 1
        given_up: list[bool] = []
        loop = asyncio.get_running_loop()
        call = loop.run_in_executor(self._threads, partial(_unless, given_up, work))
        call.add_done_callback(self._ended)
        try:
            done, _ = await asyncio.wait({call}, timeout=self._within_s)
        except asyncio.CancelledError:
            given_up.append(True)
            raise
        if not done:
            given_up.append(True)
            raise self._refusal()
        return cast("T", call.result())

    def shutdown(self, *, cancel: bool = False) -> None:
        """Wait for the calls under way; ``cancel``: those that wait are not begun."""
        self._threads.shutdown(cancel_futures=cancel)

    def _ended(self, call: asyncio.Future[Any]) -> None:
        self._count -= 1
        if not call.cancelled():
            call.exception()  # nobody may wait for it any more


def _unless(given_up: list[bool], work: Callable[[], T]) -> T | None:
    """Run a call, unless nobody waits for it any more before it has begun."""
    return None if given_up else work()
