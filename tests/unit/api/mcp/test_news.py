"""News of runs whose calls are held."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from api.mcp.news import RunNews, _is_number


class Run:
    """A run of which nobody hears anything; it notes who reads, and swallows cancellations."""

    def __init__(self, swallows: int = 0) -> None:
        self.swallows = swallows
        self.reads, self.over = asyncio.Event(), asyncio.Event()
        runs = SimpleNamespace(handle=lambda _: SimpleNamespace(events=self.events))
        self.caller: Any = SimpleNamespace(
            services=SimpleNamespace(client=SimpleNamespace(runs=runs))
        )

    async def events(self) -> AsyncIterator[Any]:
        """Wait for an event."""
        try:
            while not self.over.is_set():
                self.reads.set()
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    if not self.swallows:
                        raise
                    self.swallows -= 1
        finally:
            self.over.set()
        yield None


def test_nobody_reads_on_for_a_client_that_has_gone() -> None:
    """Its call is cancelled by a scope of anyio, in which each wait ends at once."""

    async def scene() -> None:
        run = Run()
        with anyio.CancelScope() as scope:
            news = RunNews(None, run.caller, "r", None)
            try:
                await run.reads.wait()
                scope.cancel()
                await anyio.sleep_forever()
            finally:
                await news.close()
        async with asyncio.timeout(60):
            await run.over.wait()

    asyncio.run(scene())


def test_a_reader_that_swallows_a_cancellation_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.mcp.news._REST_S", 0.0)

    async def scene() -> None:
        run = Run(swallows=1)
        news = RunNews(None, run.caller, "r", None)
        await run.reads.wait()
        async with asyncio.timeout(60):
            await news.close()
        assert run.over.is_set()

    asyncio.run(scene())


def test_numbers_are_those_that_a_client_can_read() -> None:
    odd: list[Any] = [True, None, "1", float("nan"), float("inf"), 10**400]
    assert [_is_number(one) for one in odd] == [False] * len(odd)
    assert _is_number(0.5)
    assert _is_number(-7)
