"""Coroutines that are told to raise something where they wait."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from celery import Celery
from celery.exceptions import SoftTimeLimitExceeded as Soft

from app.concurrency.loop import LoopThread, process_loop
from app.pool.coroutines import Interruptible, adapt

SOON = 20


@pytest.fixture
def loop() -> Iterator[LoopThread]:
    made = LoopThread()
    yield made
    made.close()


class Run:
    """A coroutine that runs, until ``waits`` is set at least."""

    def __init__(self, loop: LoopThread, function: Callable[[Run], Awaitable[Any]]) -> None:
        self.seen: list[str] = []
        self.leaving: set[asyncio.Task[Any]] = set()
        self._loop = loop
        self.coroutine = Interruptible(function(self))  # type: ignore[arg-type]
        self.coroutine.work = self.work = loop.submit(self.coroutine.run())

    async def hold(self) -> None:
        self.seen.append("waits")
        await asyncio.sleep(60)

    def after(self, *calls: Callable[[], Any]) -> Run:
        """Call on the loop, all in one turn of it, once the coroutine waits."""

        async def waits() -> None:
            while "waits" not in self.seen:  # noqa: ASYNC110 - of any thread
                await asyncio.sleep(0)

        async def turn() -> None:
            for call in calls:
                call()

        self._loop.submit(waits()).result(SOON)
        self._loop.submit(turn()).result(SOON)
        return self

    def interrupt(self) -> None:
        self.coroutine.interrupt(Soft())

    def stop(self) -> None:
        self.coroutine.stop(self.leaving)

    def result(self) -> Any:
        return self.work.result(SOON)


class TestInterrupting:
    def test_raises_at_the_await(self, loop: LoopThread) -> None:
        run = Run(loop, Run.hold)
        run.after(run.interrupt)
        with pytest.raises(Soft):
            run.result()

    def test_can_be_handled_and_it_goes_on(self, loop: LoopThread) -> None:
        async def handles(run: Run) -> str:
            try:
                await run.hold()
            except Soft:
                await asyncio.sleep(0.01)
                return "partial"
            return "whole"

        run = Run(loop, handles)
        assert run.after(run.interrupt).result() == "partial"

    def test_twice(self, loop: LoopThread) -> None:
        async def handles(run: Run) -> int:
            for n in range(2):
                try:
                    await run.hold()
                except Soft:
                    run.seen = [f"handled {n}"]
            return 2

        run = Run(loop, handles)
        run.after(run.interrupt)
        assert run.after(run.interrupt).result() == 2

    def test_cleaning_up(self, loop: LoopThread) -> None:
        async def cleans(run: Run) -> None:
            try:
                await run.hold()
            finally:
                await asyncio.sleep(0)
                run.seen.append("cleaned")

        run = Run(loop, cleans)
        run.after(run.interrupt)
        with pytest.raises(Soft):
            run.result()
        assert run.seen == ["waits", "cleaned"]

    def test_through_a_gather(self, loop: LoopThread) -> None:
        async def gathers(run: Run) -> None:
            await asyncio.gather(run.hold(), asyncio.sleep(60))

        run = Run(loop, gathers)
        run.after(run.interrupt)
        with pytest.raises(Soft):
            run.result()

        async def others() -> int:
            await asyncio.sleep(0.01)
            return len(asyncio.all_tasks()) - 1

        assert loop.submit(others()).result(SOON) == 0

    def test_timeouts_and_task_groups_work_afterwards(self, loop: LoopThread) -> None:
        async def goes_on(run: Run) -> str:
            try:
                await run.hold()
            except Soft:
                assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await asyncio.sleep(60)
            with pytest.raises(ExceptionGroup):
                await _fail_in_a_group()
            return "fine"

        run = Run(loop, goes_on)
        assert run.after(run.interrupt).result() == "fine"

    def test_before_it_began(self, loop: LoopThread) -> None:
        begun = []

        async def begins(_: Any) -> None:
            begun.append(True)

        made = Interruptible(begins(None))
        made.interrupt(Soft())
        with pytest.raises(Soft):
            loop.submit(made.run()).result(SOON)
        assert begun == []

    def test_when_it_has_ended(self, loop: LoopThread) -> None:
        run = Run(loop, lambda _: asyncio.sleep(0, "done"))
        assert run.result() == "done"
        run.seen.append("waits")
        run.after(run.interrupt)
        assert run.result() == "done"

    def test_in_the_turn_in_which_its_wait_ends(self, loop: LoopThread) -> None:
        """Nothing hangs and nothing is raised twice, whichever comes first."""

        comes: list[asyncio.Future[str]] = []

        async def waits(run: Run) -> str:
            comes.append(asyncio.get_running_loop().create_future())
            run.seen.append("waits")
            try:
                return await comes[-1]
            except Soft:
                return "interrupted"

        run = Run(loop, waits)
        run.after(lambda: comes[-1].set_result("came"), run.interrupt)
        assert run.result() == "interrupted"
        run = Run(loop, waits)
        run.after(run.interrupt, lambda: comes.pop().cancel())
        assert run.result() == "interrupted"


class TestStopping:
    def test_cancels(self, loop: LoopThread) -> None:
        async def cleans(run: Run) -> None:
            try:
                await run.hold()
            except asyncio.CancelledError:
                run.seen.append("cancelled")
                await asyncio.sleep(0.01)
                run.seen.append("cleaned")
                raise

        run = Run(loop, cleans)
        run.after(run.stop)
        with pytest.raises(asyncio.CancelledError):
            run.result()
        assert len(run.leaving) == 1  # who waits for it need not see it end

        async def left() -> None:
            while run.leaving:  # noqa: ASYNC110 - a set
                await asyncio.sleep(0)

        loop.submit(left()).result(SOON)
        assert run.seen == ["waits", "cancelled", "cleaned"]

    def test_one_that_swallows_it_runs_on_and_its_result_is_dropped(self, loop: LoopThread) -> None:
        async def swallows(run: Run) -> str:
            try:
                await run.hold()
            except asyncio.CancelledError:
                run.seen.append("swallowed")
            return "ran on"

        run = Run(loop, swallows)
        run.after(run.stop)
        with pytest.raises(asyncio.CancelledError):
            run.result()

    def test_wins_over_an_interruption_of_the_same_turn(self, loop: LoopThread) -> None:
        async def handles(run: Run) -> None:
            try:
                await run.hold()
            except Soft:
                run.seen.append("soft")
            except asyncio.CancelledError:
                run.seen.append("cancelled")
                raise

        for calls in (["interrupt", "stop"], ["stop", "interrupt"]):
            run = Run(loop, handles)
            run.after(*(getattr(run, c) for c in calls))
            loop.submit(asyncio.sleep(0.01)).result(SOON)
            assert run.seen == ["waits", "cancelled"]

    def test_before_it_began(self, loop: LoopThread, recwarn: pytest.WarningsRecorder) -> None:
        made = Interruptible(_fail())
        made.stop(set())
        made.interrupt(Soft())
        del made
        assert not [w for w in recwarn if "never awaited" in str(w.message)]


async def _fail() -> None:
    raise ValueError


async def _fail_in_a_group() -> None:
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_fail())
        await asyncio.sleep(60)


class TestErrors:
    @pytest.mark.parametrize("error", [ValueError, KeyError, asyncio.CancelledError])
    def test_its_own_come_out(self, loop: LoopThread, error: type[BaseException]) -> None:
        async def raises(_: Run) -> None:
            await asyncio.sleep(0)
            raise error

        with pytest.raises(error):
            Run(loop, raises).result()

    @pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
    def test_what_ends_programs_does_not_end_the_loop(
        self, loop: LoopThread, error: type[BaseException]
    ) -> None:
        async def raises(_: Run) -> None:
            await asyncio.sleep(0)
            raise error

        with pytest.raises(error):
            Run(loop, raises).result()
        assert loop.submit(asyncio.sleep(0, "alive")).result(SOON) == "alive"


class TestAdapting:
    @pytest.fixture
    def app(self) -> Celery:
        return Celery("t", broker="memory://", set_as_current=False)

    def test_a_coroutine_function(self, app: Celery) -> None:
        @app.task(shared=False)
        async def add(x: int, y: int) -> int:
            return x + y

        adapt(add)
        assert add.on_loop
        assert add.run(1, 2) == 3

    def test_a_function_is_left_alone(self, app: Celery) -> None:
        @app.task(shared=False)
        def add(x: int, y: int) -> int:
            return x + y

        before = add.run
        adapt(add)
        assert add.run == before
        assert not getattr(add, "on_loop", False)

    def test_a_second_time_changes_nothing(self, app: Celery) -> None:
        @app.task(shared=False)
        async def one() -> int:
            return 1

        adapt(one)
        adapted = one.run
        adapt(one)
        assert one.run is adapted

    def test_below_autoretry(self, app: Celery) -> None:
        @app.task(autoretry_for=(ValueError,), shared=False)
        async def one() -> int:
            return 1

        adapt(one)
        assert one.on_loop
        assert one.run() == 1

    def test_bound(self, app: Celery) -> None:
        @app.task(bind=True, shared=False)
        async def name(self: Any) -> str:
            return str(self.name)

        adapt(name)
        assert name.run() == name.name

    def test_a_coroutine_on_the_loop_awaits_it(self, app: Celery) -> None:
        """It would wait for ever on the loop's own thread."""

        @app.task(shared=False)
        async def one() -> int:
            return 1

        adapt(one)

        async def calls() -> int:
            return int(await one()) + int(await one.run())

        assert process_loop().submit(calls()).result(SOON) == 2
