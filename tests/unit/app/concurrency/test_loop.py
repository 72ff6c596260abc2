from __future__ import annotations

import asyncio
import socket
import threading
from asyncio import CancelledError
from collections.abc import Awaitable, Callable, Iterator
from contextvars import ContextVar
from typing import Any

import pytest

from agents.net.clients import SharedClients
from app.concurrency.fibers import in_thread
from app.concurrency.loop import BULK_A_TURN, DEFAULT_THREADS, LoopThread, process_loop

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


def test_posts_of_many_threads_are_read_in_each_ones_order(loop: LoopThread) -> None:
    read: list[tuple[int, int]] = []

    def post(thread: int) -> None:
        for n in range(500):
            loop.post(read.append, (thread, n))

    threads = [threading.Thread(target=post, args=(t,)) for t in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SOON)
    loop.submit(asyncio.sleep(0)).result(SOON)
    assert len(read) == 2000
    for t in range(4):
        assert [n for thread, n in read if thread == t] == list(range(500))


def test_a_post_that_fails_does_not_stop_those_behind_it(
    loop: LoopThread, caplog: pytest.LogCaptureFixture
) -> None:
    done = threading.Event()

    def both() -> None:
        loop.post(lambda: 1 // 0)
        loop.post(done.set)

    loop.post(both)
    assert done.wait(SOON)
    assert "A call on the loop failed" in caplog.text


def test_cancelled_before_it_began(loop: LoopThread) -> None:
    begun: list[bool] = []

    async def begin() -> None:
        begun.append(True)

    gate = threading.Event()
    loop.post(gate.wait, SOON)  # the loop is busy
    work = loop.submit(begin())
    assert work.cancel()
    assert not work.cancel()
    gate.set()
    with pytest.raises(CancelledError):
        work.result(SOON)
    loop.submit(asyncio.sleep(0)).result(SOON)
    assert begun == []


def test_what_is_started_on_the_loop_begins_at_once(loop: LoopThread) -> None:
    async def start() -> str:
        assert loop.here
        return await asyncio.to_thread(loop.submit(asyncio.sleep(0, "inner")).result, SOON)

    assert not loop.here
    assert loop.submit(start()).result(SOON) == "inner"


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_no_coroutine_ends_the_loop(loop: LoopThread, error: type[BaseException]) -> None:
    async def fail() -> None:
        raise error

    with pytest.raises(error):
        loop.submit(fail()).result(SOON)
    assert loop.submit(asyncio.sleep(0, "alive")).result(SOON) == "alive"


class TestTurns:
    def test_what_is_left_to_the_end_is_called_once_behind_all_mail(self, loop: LoopThread) -> None:
        told: list[str] = []

        def end() -> None:
            told.append("end")

        def ask(name: str) -> None:
            loop.at_turns_end(end)
            told.append(name)

        def all_at_once() -> None:  # so that they are read in one turn
            for name in "abc":
                loop.post(ask, name)

        loop.post(all_at_once)
        loop.submit(asyncio.sleep(0.01)).result(SOON)
        assert told == ["a", "b", "c", "end"]

    def test_of_work_in_bulk_each_reads_a_few_behind_all_else(self, loop: LoopThread) -> None:
        told: list[Any] = []
        over = threading.Event()

        def work(n: int) -> None:
            loop.at_turns_end(end)
            told.append(n)
            if n == 0:
                loop.post(told.append, "other")
            elif n == 2 * BULK_A_TURN:
                over.set()

        def end() -> None:
            told.append("end")

        def all_at_once() -> None:
            for n in range(2 * BULK_A_TURN + 1):
                loop.post_bulk(work, n)

        loop.post(all_at_once)
        assert over.wait(SOON)
        loop.submit(asyncio.sleep(0)).result(SOON)
        first, second = range(BULK_A_TURN), range(BULK_A_TURN, 2 * BULK_A_TURN)
        last = 2 * BULK_A_TURN
        assert told == [*first, "end", "other", *second, "end", last, "end"]

    def test_outside_of_a_turn(self, loop: LoopThread) -> None:
        told: list[str] = []

        async def ask() -> None:
            loop.at_turns_end(lambda: told.append("end"))
            told.append("asked")

        loop.submit(ask()).result(SOON)
        loop.submit(asyncio.sleep(0.01)).result(SOON)
        assert told == ["asked", "end"]

    def test_one_that_fails_does_not_stop_the_others(
        self, loop: LoopThread, caplog: pytest.LogCaptureFixture
    ) -> None:
        told: list[str] = []

        def fail() -> None:
            raise ValueError

        def ask() -> None:
            loop.at_turns_end(fail)
            loop.at_turns_end(lambda: told.append("end"))

        loop.post(ask)
        loop.submit(asyncio.sleep(0.01)).result(SOON)
        assert told == ["end"]
        assert "A call on the loop failed" in caplog.text


def test_what_breaks_into_a_turn_holds_up_none_of_it(loop: LoopThread) -> None:
    read = threading.Event()

    def fail() -> None:
        raise SystemExit

    def all_at_once() -> None:  # so that they are read in one turn
        loop.post(fail)
        loop.post(read.set)

    loop.post(all_at_once)
    assert read.wait(SOON)


def test_what_is_asked_behind_a_broken_turn_is_handed_over(loop: LoopThread) -> None:
    ended = threading.Event()

    def fail() -> None:
        raise SystemExit

    loop.post(fail)
    loop.loop.call_soon_threadsafe(loop.at_turns_end, ended.set)
    assert ended.wait(SOON)


def test_a_cancelled_coroutine_hears_of_it_before_who_waits(loop: LoopThread) -> None:
    told: list[str] = []
    begun = threading.Event()

    async def work() -> None:
        begun.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            told.append("coroutine")
            raise

    started = loop.submit(work())
    assert begun.wait(SOON)
    started.add_done_callback(
        lambda _: loop.post(lambda: loop.loop.call_later(0, told.append, "who waits"))
    )
    assert started.cancel()
    loop.submit(asyncio.sleep(0.05)).result(SOON)
    assert told == ["coroutine", "who waits"]
    assert not started.cancel()


WAITING_FOR_THREADS: dict[str, Callable[[asyncio.AbstractEventLoop], Awaitable[Any]]] = {
    "getaddrinfo": lambda loop: loop.getaddrinfo("localhost", 80),
    "getaddrinfo with flags": lambda loop: loop.getaddrinfo(
        "127.0.0.1", 80, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
    ),
    "getnameinfo": lambda loop: loop.getnameinfo(("127.0.0.1", 80), socket.NI_NUMERICHOST),
    "a connection by name": lambda _: _connect(),
    "a quick call of ours": lambda _: in_thread(int, "7"),
    "a slow call of ours": lambda _: in_thread(int, "7", slow=True),
    "a first import": lambda _: SharedClients(in_thread).load("colorsys", extra="x"),
}


async def _connect() -> None:
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        _, writer = await asyncio.open_connection("localhost", port, family=socket.AF_INET)
        writer.close()


@pytest.mark.parametrize("what", WAITING_FOR_THREADS)
def test_agents_that_fill_the_default_threads_delay_nothing_of_ours(what: str) -> None:
    thread, over = process_loop(), threading.Event()

    async def hog() -> None:
        await asyncio.to_thread(over.wait, SOON)

    hogs = [thread.submit(hog()) for _ in range(3 * DEFAULT_THREADS)]
    try:

        async def ask() -> None:
            assert not over.is_set()
            await WAITING_FOR_THREADS[what](asyncio.get_running_loop())

        thread.submit(ask()).result(SOON / 2)
        assert not any(hog.done() for hog in hogs)
    finally:
        over.set()
        for work in hogs:
            work.result(SOON)


def test_what_runs_in_a_thread_sees_the_callers_variables() -> None:
    variable: ContextVar[str] = ContextVar("variable", default="none")

    async def ask() -> list[str]:
        variable.set("mine")
        return [await in_thread(variable.get), await in_thread(variable.get, slow=True)]

    assert process_loop().submit(ask()).result(SOON) == ["mine", "mine"]
