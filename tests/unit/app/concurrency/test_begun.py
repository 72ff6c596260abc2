from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextvars import ContextVar
from typing import Any

import pytest
from greenlet import getcurrent

from app.concurrency.fibers import Fiber, in_fiber, sleep, start, wait, whose
from app.concurrency.future import Future
from app.concurrency.loop import LoopThread, Work
from tests.support.fibers import in_a_fiber

variable: ContextVar[str] = ContextVar("variable", default="unset")


@pytest.fixture
def loop() -> Iterator[LoopThread]:
    made = LoopThread()
    yield made
    made.close()


def awaited(loop: LoopThread, coroutine: Coroutine[Any, Any, Any]) -> Any:
    """What a fiber gets that starts a coroutine and waits for it."""

    def run() -> Any:
        work = Work(loop, coroutine)
        start(work)
        return wait(work)

    return in_a_fiber(run, thread=loop)


class TestBeginning:
    def test_what_never_waits_has_ended_at_once(self, loop: LoopThread) -> None:
        async def five() -> int:
            return 5

        def run() -> tuple[bool, int]:
            work = Work(loop, five())
            start(work)
            return work.done(), work.result()

        assert in_a_fiber(run, thread=loop) == (True, 5)

    def test_what_waits_goes_on_as_the_same_task(self, loop: LoopThread) -> None:
        async def tasks() -> list[asyncio.Task[Any] | None]:
            found = [asyncio.current_task()]
            for pause in (0, 0.01):
                await asyncio.sleep(pause)
                found.append(asyncio.current_task())
            return found

        first, *others = awaited(loop, tasks())
        assert first is not None
        assert others == [first, first]

    def test_it_is_no_part_of_the_fiber(self, loop: LoopThread) -> None:
        """It would stop the fiber amid itself where it waits for something of ours."""

        async def where() -> tuple[bool, bool, Any]:
            return in_fiber(), isinstance(getcurrent(), Fiber), whose()

        def run() -> bool:
            work = Work(loop, where())
            start(work)
            return work.result() == (False, False, getcurrent())

        assert in_a_fiber(run, thread=loop)

    def test_its_variables_are_a_copy_of_the_fibers(self, loop: LoopThread) -> None:
        async def change() -> list[str]:
            before = variable.get()
            variable.set("changed")
            await asyncio.sleep(0)
            return [before, variable.get()]

        def run() -> tuple[Any, str]:
            variable.set("the fiber's")
            work = Work(loop, change())
            start(work)
            return wait(work), variable.get()

        assert in_a_fiber(run, thread=loop) == (["the fiber's", "changed"], "the fiber's")

    def test_only_once_until_it_waits(self, loop: LoopThread) -> None:
        """A fiber that goes on and on lets others have their turn."""

        async def nothing() -> None: ...

        def begun_at_once() -> bool:
            work = Work(loop, nothing())
            start(work)
            at_once = work.done()
            wait(work)
            return at_once

        def run() -> list[bool]:
            found = [begun_at_once(), begun_at_once(), begun_at_once()]
            sleep(0)
            return [*found, begun_at_once()]

        assert in_a_fiber(run, thread=loop) == [True, False, True, True]

    def test_many_fibers_each_with_its_own(self, loop: LoopThread) -> None:
        async def slow(number: int) -> int:
            await asyncio.sleep(0.001 * (number % 3))
            return number

        come: list[Future[int]] = [Future() for _ in range(200)]

        def one(number: int) -> Callable[[], None]:
            def run() -> None:
                work = Work(loop, slow(number))
                start(work)
                come[number].set_result(wait(work))

            return run

        def begin(run: Callable[[], None]) -> None:
            Fiber(loop, run).begin()

        for number in range(200):
            loop.post(begin, one(number))
        assert [c.result(20) for c in come] == [*range(200)]

    def test_outside_of_fibers_it_is_a_task_as_ever(self, loop: LoopThread) -> None:
        work = Work(loop, asyncio.sleep(0, 3))
        start(work)
        assert work.result(20) == 3


class TestErrors:
    @pytest.mark.parametrize("pauses", [0, 1])
    def test_errors_are_of_who_waits(self, loop: LoopThread, pauses: int) -> None:
        async def fail() -> None:
            for _ in range(pauses):
                await asyncio.sleep(0)
            raise KeyError("x")

        with pytest.raises(KeyError):
            awaited(loop, fail())
        assert awaited(loop, asyncio.sleep(0, "the loop goes on")) == "the loop goes on"

    @pytest.mark.parametrize("pauses", [0, 1])
    def test_what_cancels_itself(self, loop: LoopThread, pauses: int) -> None:
        async def cancel() -> None:
            for _ in range(pauses):
                await asyncio.sleep(0)
            raise asyncio.CancelledError

        def run() -> str:
            work = Work(loop, cancel())
            start(work)
            try:
                wait(work)
            except asyncio.CancelledError:
                return "cancelled"
            return "not"

        assert in_a_fiber(run, thread=loop) == "cancelled"

    def test_what_ends_though_it_was_cancelled_is_cancelled(self, loop: LoopThread) -> None:
        async def ends() -> int:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            return 1

        def run() -> str:
            work = Work(loop, ends())
            start(work)
            try:
                return str(wait(work))
            except asyncio.CancelledError:
                return "cancelled"

        assert in_a_fiber(run, thread=loop) == "cancelled"

    def test_what_is_cancelled_before_it_begins_does_not(self, loop: LoopThread) -> None:
        begun = []

        async def note() -> None:
            begun.append(1)

        def run() -> str:
            work = Work(loop, note())
            work.cancel()
            start(work)
            try:
                wait(work)
            except asyncio.CancelledError:
                return "cancelled"
            return "not"

        assert in_a_fiber(run, thread=loop) == "cancelled"
        assert begun == []

    def test_cancelled_before_its_task_has_taken_over(self, loop: LoopThread) -> None:
        """What it waits for is cancelled with it, as of any task."""
        told = []

        async def inner() -> None:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                told.append("inner")
                raise

        async def outer() -> None:
            try:
                await asyncio.ensure_future(inner())
            except asyncio.CancelledError:
                told.append("outer")
                raise

        def run() -> None:
            work = Work(loop, outer())
            start(work)
            assert work.task is not None
            loop.loop.call_soon(work.task.cancel)
            with pytest.raises(asyncio.CancelledError):
                wait(work)

        in_a_fiber(run, thread=loop)
        awaited(loop, asyncio.sleep(0.01))
        assert told in (["inner", "outer"], ["outer"])

    def test_who_is_cancelled_before_its_first_turn_hears_why(self, loop: LoopThread) -> None:
        """Some tell by that whose cancellation it is."""
        told: list[Any] = []

        async def holds() -> None:
            come = asyncio.get_running_loop().create_future()
            try:
                await come
            except asyncio.CancelledError as error:
                told.extend([come.cancelled(), *error.args])
                raise

        def run() -> None:
            work = Work(loop, holds())
            start(work)
            assert work.task is not None
            work.task.cancel("of a scope")
            with pytest.raises(asyncio.CancelledError):
                wait(work)

        in_a_fiber(run, thread=loop)
        assert told == [True, "of a scope"]

    def test_a_limit_of_time_within_it_holds(self, loop: LoopThread) -> None:
        async def late() -> str:
            try:
                async with asyncio.timeout(0.01):
                    await asyncio.sleep(60)
            except TimeoutError:
                return "late"
            return "not"

        assert awaited(loop, late()) == "late"
