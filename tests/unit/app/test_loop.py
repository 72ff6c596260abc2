from __future__ import annotations

import asyncio
import threading
from asyncio import CancelledError
from collections.abc import Iterator

import pytest

from app.loop import LoopThread

SOON = 20


@pytest.fixture
def loop() -> Iterator[LoopThread]:
    made = LoopThread()
    yield made
    if not made.loop.is_closed():
        made.close()


def test_coroutines_of_many_threads_run_on_one_loop(loop: LoopThread) -> None:
    async def where() -> int:
        await asyncio.sleep(0)
        return threading.get_ident()

    found = {loop.submit(where()).result(SOON) for _ in range(3)}
    assert len(found) == 1
    assert threading.get_ident() not in found


def test_errors_come_out(loop: LoopThread) -> None:
    async def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        loop.submit(fail()).result(SOON)


def test_a_future_cancels_its_coroutine(loop: LoopThread) -> None:
    started, stopped = threading.Event(), threading.Event()

    async def sleepy() -> None:
        started.set()
        try:
            await asyncio.sleep(60)
        finally:
            stopped.set()

    future = loop.submit(sleepy())
    assert started.wait(SOON)
    future.cancel()
    assert stopped.wait(SOON)


def test_closing_cancels_what_runs(loop: LoopThread) -> None:
    future = loop.submit(asyncio.sleep(60))
    loop.close()
    with pytest.raises(CancelledError):
        future.result(SOON)
    assert loop.loop.is_closed()
