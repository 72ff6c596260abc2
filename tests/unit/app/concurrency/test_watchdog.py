from __future__ import annotations

import asyncio
import gc
import logging
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, create_engine

from app.concurrency.batcher import Batches
from app.concurrency.fibers import wait
from app.concurrency.loop import LoopThread
from app.concurrency.watchdog import Watchdog, _frame_of
from app.journal.writing.operation import Operation
from app.journal.writing.writer import Writer
from celery_agents.errors import LoopStalledError
from tests.support.fibers import in_a_fiber

SOON = 20


def _slowly(item: int) -> int:
    """Lasts longer than the watchdog is patient, with Python code behind it."""
    time.sleep(1.2)
    return sum([item])


class Slow(Operation[str]):
    """A write that waits long for its database."""

    order = 0

    @classmethod
    def apply(cls, connection: Connection, operations: Sequence[Slow]) -> list[str]:  # noqa: ARG003 - its base's signature
        _slowly(0)
        return ["written"] * len(operations)


class Clock:
    def __init__(self) -> None:
        self.at = 50.0

    def __call__(self) -> float:
        return self.at


class Still(LoopThread):
    """A loop that turns when it is told to."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.unbroken = threading.RLock()

    @property
    def loop(self) -> Any:
        return self

    @loop.setter
    def loop(self, _: Any) -> None: ...

    @property
    def thread_id(self) -> int:
        return 0

    def call_soon_threadsafe(self, call: Any) -> None:
        self.calls.append(call)

    def turn(self) -> None:
        while self.calls:
            self.calls.pop()()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def still() -> Still:
    return Still()


@pytest.fixture
def dog(still: Still, clock: Clock) -> Watchdog:
    return Watchdog(still, 7.0, clock=clock, running=lambda: ["s1", "s2"])


def looks(dog: Watchdog, clock: Clock, count: int, every_s: float = 0.7) -> bool:
    """Look ``count`` times and return what it then says of the loop."""
    for _ in range(count):
        clock.at += every_s
        dog.look()
    return dog.stalled


def test_a_loop_that_turns(dog: Watchdog, still: Still, clock: Clock) -> None:
    for _ in range(50):
        looks(dog, clock, 1)
        still.turn()
        assert not dog.stalled


def test_a_loop_that_stands_still(
    dog: Watchdog, still: Still, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    assert not looks(dog, clock, 10)
    assert not caplog.records
    assert looks(dog, clock, 2)
    (told,) = caplog.records
    assert told.levelno == logging.WARNING
    assert "s1, s2" in told.getMessage()
    looks(dog, clock, 8)
    assert len(caplog.records) == 1  # again after as long, not at each look
    still.turn()
    assert not looks(dog, clock, 1)


@pytest.mark.parametrize("frozen_s", [60.0, 86_400.0])
def test_a_process_that_was_frozen_is_no_stall(
    dog: Watchdog, still: Still, clock: Clock, frozen_s: float
) -> None:
    looks(dog, clock, 2)
    looks(dog, clock, 1, every_s=frozen_s)
    assert not dog.stalled


@pytest.fixture
def loop() -> Iterator[LoopThread]:
    made = LoopThread()
    yield made
    made.close()


@pytest.fixture
def watched(loop: LoopThread) -> Iterator[LoopThread]:
    dog = Watchdog(loop, 0.5)
    dog.start()
    yield loop
    dog.stop()


async def spins() -> None:
    while True:
        pass


async def multiplies() -> None:
    for number in range(10**12):
        _ = number * number


async def hides_it() -> None:
    while True:
        try:
            sum(range(1000))
        except ValueError:
            continue


@pytest.mark.parametrize("poison", [spins, multiplies, hides_it])
def test_what_computes_for_ever_is_interrupted_and_others_go_on(
    watched: LoopThread, poison: Any, caplog: pytest.LogCaptureFixture
) -> None:
    work = watched.submit(poison())
    with pytest.raises(LoopStalledError):
        work.result(SOON)
    assert watched.submit(asyncio.sleep(0, "on")).result(SOON) == "on"
    assert poison.__name__ in caplog.text  # the stack


def test_what_only_waits_is_let_be(watched: LoopThread) -> None:
    async def waits() -> str:
        await asyncio.sleep(1.5)
        return "done"

    assert watched.submit(waits()).result(SOON) == "done"


def test_a_write_of_ours_is_waited_for(
    watched: LoopThread, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A lone fiber writes on the loop's thread; its finished step must not fail for that."""
    writer = Writer(create_engine(f"sqlite:///{tmp_path}/journal.db"), batch_max=9)
    written = in_a_fiber(lambda: wait(writer.submit(Slow())), thread=watched)
    writer.close()
    assert written == "written"
    assert "waits, for something that has an end" in caplog.text
    with pytest.raises(LoopStalledError):  # and what computes behind it is interrupted
        watched.submit(spins()).result(SOON)


def test_a_batch_that_somebody_waits_for_is_waited_for(watched: LoopThread) -> None:
    batches = Batches[int]("slow", lambda items: [*map(_slowly, items)], 9)
    assert in_a_fiber(lambda: wait(batches.submit(7)), thread=watched) == 7
    batches.close()


def test_code_that_is_not_python_s_is_told_of(watched: LoopThread) -> None:
    """It cannot be interrupted; the attempt ends when it comes back."""

    async def sleeps() -> None:
        time.sleep(1.2)  # noqa: ASYNC251 - as bad code does
        time.sleep(0)  # noqa: ASYNC251

    with pytest.raises(LoopStalledError):
        watched.submit(sleeps()).result(SOON)


@pytest.mark.parametrize("collects", [True, False])
def test_no_garbage_is_collected_while_a_thread_is_looked_for(
    monkeypatch: pytest.MonkeyPatch, *, collects: bool
) -> None:
    """CPython before 3.11.9 would stand still for ever."""
    seen: list[bool] = []
    plain = sys._current_frames

    def frames() -> Any:
        seen.append(gc.isenabled())
        return plain()

    monkeypatch.setattr(sys, "_current_frames", frames)
    before = gc.isenabled()
    (gc.enable if collects else gc.disable)()
    try:
        assert _frame_of(threading.get_ident()) is not None
        assert _frame_of(0) is None
        assert gc.isenabled() is collects
    finally:
        (gc.enable if before else gc.disable)()
    assert seen == [False, False]
