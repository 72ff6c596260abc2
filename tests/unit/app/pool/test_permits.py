"""No more at once than permits, in the order in which they were asked for, and none is lost."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from app.concurrency.fibers import Fiber, wait
from app.concurrency.future import Future
from app.concurrency.loop import LoopThread
from app.pool.permits import Permits, permit

SOON = 20


@pytest.fixture
def loop() -> Iterator[LoopThread]:
    made = LoopThread()
    yield made
    made.close()


class World:
    """Fibers that each ask for a permit and then wait to be told that their work is over."""

    def __init__(self, loop: LoopThread, limit: int) -> None:
        self.loop = loop
        self.permits = Permits(limit)
        self.at_work: list[int] = []
        self.over: dict[int, Future[None]] = {}
        self.fibers: dict[int, Fiber] = {}

    def start(self, number: int, tenant: str = "", priority: int = 5) -> None:
        def work() -> None:
            with self.permits.one(tenant, priority):
                self.at_work.append(number)
                wait(self.over[number])
            self.at_work.remove(number)

        def begin() -> None:  # a fiber belongs to the thread that makes it
            self.fibers[number] = Fiber(self.loop, work)
            self.fibers[number].begin()

        self.over[number] = Future()
        self.do(begin)

    def do(self, call: Callable[..., Any], *args: object) -> None:
        """Something on the loop's thread; returns when it, and what followed from it, is done."""
        done = threading.Event()
        self.loop.post(call, *args)
        self.loop.submit(asyncio.sleep(0.02)).add_done_callback(lambda _: done.set())
        assert done.wait(SOON)

    def end(self, number: int) -> None:
        self.do(self.over[number].set_result, None)


def test_no_more_than_there_are(loop: LoopThread) -> None:
    world = World(loop, 2)
    for number in range(4):
        world.start(number)
    assert world.at_work == [0, 1]
    world.end(1)
    assert world.at_work == [0, 2]
    world.end(0)
    assert world.at_work == [2, 3]


def test_one_that_ends_while_it_waits_loses_none(loop: LoopThread) -> None:
    world = World(loop, 1)
    for number in range(3):
        world.start(number)
    world.do(world.fibers[1].kill)
    world.end(0)
    assert world.at_work == [2]
    world.end(2)
    world.start(3)
    assert world.at_work == [3]


def test_more_and_fewer(loop: LoopThread) -> None:
    world = World(loop, 1)
    for number in range(4):
        world.start(number)
    world.do(world.permits.change, 1)
    assert world.at_work == [0, 1]
    world.do(world.permits.change, -1)
    world.end(0)
    assert world.at_work == [1]
    world.end(1)
    assert world.at_work == [2]


def test_outside_of_the_pool_there_are_none_to_ask_for() -> None:
    with permit("", 5):
        pass


@pytest.mark.parametrize(
    ("weights", "order"), [({}, [7, 8]), ({"a": 3}, [7, 4])], ids=["1:1", "3:1"]
)
def test_whose_tenant_has_fewest_for_its_weight_is_next(
    loop: LoopThread, weights: dict[str, float], order: list[int]
) -> None:
    """Four of a's run, and three wait before two of b's."""
    world = World(loop, 4)
    world.permits.weights = weights
    for number in range(7):
        world.start(number, "a")
    for number in (7, 8):
        world.start(number, "b")
    world.end(0)
    world.end(1)
    assert world.at_work == [2, 3, *order]


def test_a_more_urgent_step_goes_before_a_lighter_tenant(loop: LoopThread) -> None:
    world = World(loop, 1)
    world.start(0, "a")
    world.start(1, "b", 5)
    world.start(2, "a", 1)
    world.end(0)
    assert world.at_work == [2]


def test_whoever_ends_while_it_waits_is_no_tenant_that_waits(loop: LoopThread) -> None:
    world = World(loop, 1)
    for number, tenant in enumerate("abc"):
        world.start(number, tenant)
    world.do(world.fibers[1].kill)
    world.end(0)
    assert world.at_work == [2]
    world.end(2)
    world.start(3, "b")
    assert world.at_work == [3]
