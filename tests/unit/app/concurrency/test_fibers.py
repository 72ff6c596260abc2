from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from functools import partial
from typing import Any

import pytest
from greenlet import GreenletExit, getcurrent

from app.concurrency import fibers
from app.concurrency import loop as loops
from app.concurrency.fibers import (
    Fiber,
    Gathered,
    alone,
    arrival,
    blocking,
    brief,
    in_fiber,
    sleep,
    wait,
    whose,
)
from app.concurrency.future import Future
from app.concurrency.loop import BULK_A_TURN, SHARED_BY, LoopThread, process_loop
from tests.support.fibers import in_a_fiber

SOON = 20
variable: ContextVar[str] = ContextVar("variable", default="unset")


@pytest.fixture
def loop() -> Iterator[LoopThread]:
    made = LoopThread()
    yield made
    made.close()


def start(
    loop: LoopThread, function: Callable[[], Any], *, bulk: bool = False
) -> tuple[Fiber, Future[Any]]:
    """A fiber that runs a function, and what comes of it."""
    come: Future[Any] = Future()

    def run() -> None:
        try:
            come.set_result(function())
        except BaseException as error:  # noqa: BLE001 - the test's to look at
            come.set_exception(error)

    made: Future[Fiber] = Future()

    def begin() -> None:
        fiber = Fiber(loop, run)
        fiber.bulk = bulk
        made.set_result(fiber)
        fiber.begin()

    loop.post(begin)
    return made.result(SOON), come


def run(loop: LoopThread, function: Callable[[], Any]) -> Any:
    return start(loop, function)[1].result(SOON)


class TestWaiting:
    def test_for_what_is_there(self, loop: LoopThread) -> None:
        reply: Future[int] = Future()
        reply.set_result(1)
        assert run(loop, lambda: wait(reply)) == 1

    def test_for_what_comes(self, loop: LoopThread) -> None:
        reply: Future[int] = Future()
        _, come = start(loop, lambda: wait(reply) + 1)
        assert run(loop, lambda: "others go on meanwhile")
        assert not come.done()
        reply.set_result(1)
        assert come.result(SOON) == 2

    def test_errors_come_out_where_it_waits(self, loop: LoopThread) -> None:
        reply: Future[int] = Future()

        def handled() -> str:
            try:
                wait(reply)
            except KeyError as error:
                return repr(error)
            return "none"

        _, come = start(loop, handled)
        reply.set_exception(KeyError("x"))
        assert come.result(SOON) == "KeyError('x')"

    def test_many_at_once_in_any_order(self, loop: LoopThread) -> None:
        replies: list[Future[int]] = [Future() for _ in range(100)]
        come = [start(loop, partial(wait, r))[1] for r in replies]
        for n, reply in reversed(list(enumerate(replies))):
            reply.set_result(n)
        assert [c.result(SOON) for c in come] == list(range(100))

    def test_again_and_again(self, loop: LoopThread) -> None:
        def add() -> int:
            return sum(wait(loop.submit(asyncio.sleep(0, n))) for n in range(50))

        assert run(loop, add) == sum(range(50))

    @pytest.mark.parametrize("what", [wait, lambda r: wait(process_loop().submit(arrival(r)))])
    def test_those_in_bulk_let_others_go_first(self, what: Callable[[Future[None]], None]) -> None:
        """All replies come at once, that of somebody else as the last one."""
        loop, order = process_loop(), []
        replies: list[Future[None]] = [Future() for _ in range(10 * BULK_A_TURN)]

        def one(name: str, reply: Future[None]) -> str:
            what(reply)
            order.append(name)
            return name

        def all_at_once() -> None:
            for reply in replies:
                reply.set_result(None)

        made = [start(loop, partial(one, "many", r), bulk=True) for r in replies[:-1]]
        made.append(start(loop, partial(one, "other", replies[-1])))
        loop.submit(asyncio.sleep(0)).result(SOON)  # all of them wait
        loop.post(all_at_once)
        assert all(come.result(SOON) for _, come in made)
        assert order.index("other") < 4 * BULK_A_TURN

    def test_outside_it_blocks(self) -> None:
        reply: Future[int] = Future()
        threading.Timer(0.05, reply.set_result, (3,)).start()
        assert not in_fiber()
        assert wait(reply) == 3

    def test_of_a_coroutine(self) -> None:
        reply: Future[int] = Future()
        work = process_loop().submit(arrival(reply))
        reply.set_result(4)
        assert work.result(SOON) == 4

    def test_of_a_coroutine_that_is_cancelled(self) -> None:
        reply: Future[int] = Future()
        work = process_loop().submit(arrival(reply))
        process_loop().submit(asyncio.sleep(0)).result(SOON)
        work.cancel()
        process_loop().submit(asyncio.sleep(0)).result(SOON)
        reply.set_result(4)  # nobody is there any more, and that is no error
        with pytest.raises(asyncio.CancelledError):
            work.result(SOON)


class TestKilling:
    def test_ends_it_where_it_waits(self, loop: LoopThread) -> None:
        cleaned = []

        def hold() -> None:
            try:
                wait(Future())
            finally:
                cleaned.append(True)

        fiber, come = start(loop, hold)
        loop.post(fiber.kill)
        assert isinstance(come.exception(SOON), GreenletExit)
        assert cleaned == [True]

    def test_an_answer_that_comes_too_late_wakes_nobody(self, loop: LoopThread) -> None:
        reply: Future[int] = Future()
        fiber, come = start(loop, lambda: wait(reply))
        loop.post(fiber.kill)
        loop.post(reply.set_result, 1)
        assert isinstance(come.exception(SOON), GreenletExit)
        assert run(loop, lambda: "alive") == "alive"

    def test_an_answer_at_the_same_moment(self, loop: LoopThread) -> None:
        """The answer was posted before, and is delivered after the kill."""
        reply: Future[int] = Future()
        fiber, come = start(loop, lambda: wait(reply))

        def both() -> None:
            reply.set_result(1)
            fiber.kill()

        loop.post(both)
        assert isinstance(come.exception(SOON), GreenletExit)
        assert run(loop, lambda: "alive") == "alive"

    def test_may_wait_while_it_cleans_up(self, loop: LoopThread) -> None:
        last: Future[str] = Future()

        def hold() -> None:
            try:
                wait(Future())
            finally:
                sleep(0.01)
                last.set_result("cleaned")

        fiber, _ = start(loop, hold)
        loop.post(fiber.kill)
        assert last.result(SOON) == "cleaned"

    def test_of_one_that_has_ended_does_nothing(self, loop: LoopThread) -> None:
        fiber, come = start(loop, lambda: 1)
        assert come.result(SOON) == 1
        loop.post(fiber.kill)
        assert run(loop, lambda: "alive") == "alive"


class TestBlocking:
    def test_in_a_thread_while_the_loop_goes_on(self, loop: LoopThread) -> None:
        gate = threading.Event()

        def block() -> str:
            assert gate.wait(SOON)
            return threading.current_thread().name

        _, come = start(loop, lambda: blocking(block))
        assert run(loop, in_fiber)
        assert not come.done()
        gate.set()
        assert come.result(SOON).startswith("agents-blocking")

    def test_errors(self, loop: LoopThread) -> None:
        with pytest.raises(ZeroDivisionError):
            run(loop, lambda: blocking(lambda: 1 // 0))

    def test_elsewhere_it_is_a_call(self) -> None:
        assert blocking(threading.get_ident) == threading.get_ident()

    def test_sleep(self, loop: LoopThread) -> None:
        begin = time.monotonic()
        run(loop, lambda: sleep(0.1))
        assert time.monotonic() - begin > 0.09

    def test_others_go_on_while_some_sleep(self, loop: LoopThread) -> None:
        asleep = [start(loop, lambda: sleep(3_600)) for _ in range(50)]
        assert run(loop, lambda: sleep(0.01) or "awake") == "awake"  # type: ignore[func-returns-value]
        assert not any(come.done() for _, come in asleep)
        for fiber, _ in asleep:
            loop.post(fiber.kill)
        for _, come in asleep:
            assert isinstance(come.exception(SOON), GreenletExit)


class TestBrief:
    def test_who_blocks_lets_the_loop_go_on(self) -> None:
        gate = threading.Event()

        def block() -> str:
            assert gate.wait(SOON)
            return threading.current_thread().name

        loop = process_loop()
        _, come = start(loop, lambda: brief(block))
        assert run(loop, in_fiber)
        assert not come.done()
        gate.set()
        assert come.result(SOON).startswith("agents-blocking")

    def test_what_is_over_soon_is_waited_for_in_its_place(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(fibers, "BRIEF_S", SOON)
        assert in_a_fiber(_turned) == ["done"]

    def test_not_where_others_wait_for_the_loop(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(fibers, "BRIEF_S", SOON)
        reply: Future[None] = Future()
        _, ended = start(process_loop(), lambda: wait(reply))
        turned = in_a_fiber(_turned)
        reply.set_result(None)
        ended.result(SOON)
        assert turned == ["turn", "done"]

    def test_calls_of_one_turn_share_threads_and_none_waits_for_one_that_blocks(
        self, loop: LoopThread, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(loops, "SHARED_AGAIN_S", 10.0 * SOON)  # however slow they are
        gate, at = threading.Event(), threading.Event()

        def call(number: int) -> str:
            if number == 0:
                at.set()
                assert gate.wait(SOON)
            else:
                assert at.wait(SOON)
            return threading.current_thread().name

        come: list[Future[str]] = [Future() for _ in range(40)]

        def begin() -> None:
            for number, told in enumerate(come):
                ask = partial(brief, call, number)
                Fiber(loop, lambda ask=ask, told=told: told.set_result(ask())).begin()  # type: ignore[misc]

        loop.post(begin)
        others = {told.result(SOON) for told in come[1:]}
        assert not come[0].done()
        assert len(others) < SHARED_BY
        gate.set()
        assert come[0].result(SOON) not in others

    def test_as_many_as_share_it_may_block(self, loop: LoopThread) -> None:
        """Nobody asks for another one meanwhile, for which more threads would come."""
        gate, blocked = threading.Event(), SHARED_BY + 1  # the first one was alone

        def call(number: int) -> int:
            if number < blocked:
                assert gate.wait(SOON)
            return number

        come: list[Future[int]] = [Future() for _ in range(4 * SHARED_BY)]

        def begin() -> None:
            for number, told in enumerate(come):
                ask = partial(brief, call, number)
                Fiber(loop, lambda ask=ask, told=told: told.set_result(ask())).begin()  # type: ignore[misc]

        loop.post(begin)
        others = range(blocked, 4 * SHARED_BY)
        assert [told.result(SOON) for told in come[blocked:]] == [*others]
        assert not any(told.done() for told in come[:blocked])
        gate.set()
        assert [told.result(SOON) for told in come] == [*range(4 * SHARED_BY)]

    def test_errors(self) -> None:
        with pytest.raises(ZeroDivisionError):
            in_a_fiber(lambda: brief(lambda: 1 // 0))

    def test_elsewhere_it_is_a_call(self) -> None:
        assert brief(threading.get_ident) == threading.get_ident()


def _turned() -> list[Any]:
    """The call, and before it a turn of the loop, if there was one meanwhile."""
    found: list[Any] = []
    turned = threading.Event()

    def turn() -> None:
        found.append("turn")
        turned.set()

    def call() -> None:
        if not alone_then:
            assert turned.wait(SOON)

    alone_then = alone()
    process_loop().post(turn)
    brief(call)
    found.append("done")
    return [*found]  # later turns are not meanwhile


class TestWhose:
    def test_a_fibers_and_its_coroutines_and_threads(self, loop: LoopThread) -> None:
        async def inside() -> list[Any]:
            child = asyncio.create_task(asyncio.sleep(0, whose()))
            return [whose(), await child, await asyncio.to_thread(whose)]

        def look() -> bool:
            me = getcurrent()
            return [whose(), *wait(loop.submit(inside()))] == [me] * 4

        assert run(loop, look)

    def test_elsewhere_the_thread(self) -> None:
        assert whose() is getcurrent()

    def test_variables_of_one_are_not_anothers(self, loop: LoopThread) -> None:
        async def now() -> str:
            return variable.get()

        def look(name: str) -> list[str]:
            before = variable.get()
            variable.set(name)
            sleep(0.01)
            return [before, variable.get(), wait(loop.submit(now()))]

        come = {n: start(loop, partial(look, n))[1] for n in "abc"}
        assert {n: c.result(SOON) for n, c in come.items()} == {n: ["unset", n, n] for n in "abc"}

    def test_what_a_thread_submits_has_the_threads(self, loop: LoopThread) -> None:
        """And not those of the fiber that happened to wake the loop."""

        async def now() -> tuple[str, Any]:
            return variable.get(), whose()

        def begin() -> None:
            variable.set("the fiber's")
            loop.post(lambda: None)

        run(loop, begin)
        token = variable.set("the thread's")
        try:
            mine, other = loop.submit(now()).result(SOON)
        finally:
            variable.reset(token)
        assert mine == "the thread's"
        assert not isinstance(other, Fiber)


class TestAlone:
    """Who may block for a moment."""

    def test_no_thread_of_its_own(self) -> None:
        assert not alone()  # who submits there goes on, and waits later

    def test_a_loops_only_fiber_and_its_coroutine(self) -> None:
        async def told() -> bool:
            return alone()

        def both() -> tuple[bool, bool]:
            return alone(), wait(process_loop().submit(told()))

        assert in_a_fiber(both) == (True, True)

    def test_a_coroutine_of_no_fiber(self) -> None:
        async def told() -> bool:
            return alone()

        assert process_loop().submit(told()).result(SOON) is False

    def test_another_loops_coroutine(self) -> None:
        async def told() -> bool:
            return alone()

        assert asyncio.run(told()) is False

    def test_not_beside_another_one_until_that_ends(self) -> None:
        reply: Future[None] = Future()
        _, ended = start(process_loop(), lambda: wait(reply))
        assert in_a_fiber(alone) is False
        reply.set_result(None)
        ended.result(SOON)
        assert in_a_fiber(alone) is True

    def test_nor_beside_one_that_was_killed(self) -> None:
        fiber, _ = start(process_loop(), lambda: wait(Future()))
        process_loop().post(fiber.kill)
        assert in_a_fiber(alone) is True


class TestGathered:
    def test_a_thread_hands_over_at_once(self) -> None:
        got: list[list[int]] = []
        gathered = Gathered(got.append)
        gathered.add(1)
        gathered.add(2)
        assert got == [[1], [2]]

    def test_the_fibers_of_a_turn_together_in_their_order(self, loop: LoopThread) -> None:
        got: list[list[int]] = []
        gathered = Gathered(got.append)

        def add(n: int) -> Callable[[], None]:
            return lambda: gathered.add(n)

        def all_at_once() -> None:
            for n in range(3):
                loop.post(Fiber(loop, add(n)).begin)

        loop.post(all_at_once)
        loop.submit(asyncio.sleep(0.01)).result(SOON)
        run(loop, add(3))
        loop.submit(asyncio.sleep(0.01)).result(SOON)
        assert got == [[0, 1, 2], [3]]

    def test_the_coroutines_of_a_turn_too(self, loop: LoopThread) -> None:
        got: list[list[int]] = []
        gathered = Gathered(got.append)

        async def add(n: int) -> None:
            gathered.add(n)

        async def all_at_once() -> None:
            await asyncio.gather(add(0), add(1), add(2))

        loop.submit(all_at_once()).result(SOON)
        loop.submit(asyncio.sleep(0.01)).result(SOON)
        assert got == [[0, 1, 2]]

    def test_a_coroutine_of_another_loop_hands_over_at_once(self) -> None:
        got: list[list[int]] = []
        gathered = Gathered(got.append)

        async def add() -> None:
            gathered.add(1)
            gathered.add(2)

        asyncio.run(add())
        assert got == [[1], [2]]

    def test_who_blocks_the_loop_waits_for_nothing_that_it_holds_back(
        self, loop: LoopThread
    ) -> None:
        answer: Future[int] = Future()

        def reply(things: list[int]) -> None:
            answer.set_result(things[0])

        gathered = Gathered(reply)

        async def block() -> int:
            gathered.add(7)
            return answer.result(SOON)

        assert loop.submit(block()).result(SOON) == 7
