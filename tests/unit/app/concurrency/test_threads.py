from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import suppress

import pytest

from app.concurrency.loop import LoopThread
from app.concurrency.threads import Threads

SOON = 20


@pytest.fixture
def loop() -> Iterator[LoopThread]:
    made = LoopThread()
    yield made
    made.close()


def named(name: str) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith(name)]


def ended(threads: list[threading.Thread]) -> bool:
    for thread in threads:
        thread.join(SOON)
    return not any(thread.is_alive() for thread in threads)


def test_a_call_gives_its_value_or_its_error(loop: LoopThread) -> None:
    threads = Threads(2, "t-values")

    def fail(text: str) -> None:
        raise ValueError(text)

    async def main() -> int:
        with pytest.raises(ValueError, match="no"):
            await loop.loop.run_in_executor(threads, fail, "no")
        with pytest.raises(SystemExit):
            await loop.loop.run_in_executor(threads, sys.exit, 1)
        return await loop.loop.run_in_executor(threads, int, "7")

    assert loop.submit(main()).result(SOON) == 7
    assert threads.submit(int, "ff", base=16).result(SOON) == 255
    with pytest.raises(ValueError, match="no"):
        threads.submit(fail, "no").result(SOON)


def test_a_call_that_raises_what_a_coroutine_cannot_comes_to_its_end(loop: LoopThread) -> None:
    threads = Threads(1, "t-stops")

    async def main() -> None:
        nothing: Iterator[int] = iter(())
        await asyncio.wait_for(loop.loop.run_in_executor(threads, next, nothing), SOON)

    with pytest.raises(RuntimeError, match="StopIteration") as raised:
        loop.submit(main()).result(SOON)
    assert isinstance(raised.value.__cause__, StopIteration)


def test_an_executor_that_users_make_the_loop_s_own_has_its_calls(loop: LoopThread) -> None:
    ours = loop.loop.default
    with ThreadPoolExecutor(1, "t-theirs") as theirs:

        async def main() -> str:
            asyncio.get_running_loop().set_default_executor(theirs)
            return await asyncio.to_thread(lambda: threading.current_thread().name)

        assert loop.submit(main()).result(SOON).startswith("t-theirs")
    ours.shutdown()


def test_calls_one_after_the_other_share_a_thread(loop: LoopThread) -> None:
    threads = Threads(8, "t-one")

    async def main() -> set[int]:
        ident = threading.get_ident
        return {await loop.loop.run_in_executor(threads, ident) for _ in range(200)}

    assert len(loop.submit(main()).result(SOON)) == 1


def test_calls_side_by_side_have_threads_up_to_the_bound(loop: LoopThread) -> None:
    threads, most = Threads(4, "t-most"), 4
    together, left = threading.Barrier(most), [0, 0]
    lock = threading.Lock()

    def meet() -> None:
        with lock:
            left[0] += 1
            left[1] = max(left)
        together.wait(SOON)
        with lock:
            left[0] -= 1

    async def main() -> None:
        run = loop.loop.run_in_executor
        await asyncio.gather(*(run(threads, meet) for _ in range(10 * most)))

    loop.submit(main()).result(SOON)
    assert len(named("t-most")) == most
    assert left == [0, most]


def test_where_no_more_can_be_started_those_there_are_do_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threads, made, goes_on = Threads(4, "t-few"), list[int](), threading.Event()
    threads.submit(goes_on.wait, SOON)

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        last = [threads.submit(made.append, n) for n in range(3)][-1]
        with pytest.raises(RuntimeError, match="start new thread"):
            Threads(4, "t-none").submit(int)
    goes_on.set()
    last.result(SOON)
    assert (made, len(named("t-few"))) == ([0, 1, 2], 1)


def test_who_is_cancelled_before_a_thread_is_free_is_not_called(loop: LoopThread) -> None:
    threads, begun, goes_on = Threads(1, "t-cancelled"), threading.Event(), threading.Event()
    made: list[str] = []

    def hold() -> None:
        begun.set()
        goes_on.wait(SOON)
        made.append("held")

    async def main() -> None:
        first = loop.loop.run_in_executor(threads, hold)
        await asyncio.to_thread(begun.wait, SOON)
        second = loop.loop.run_in_executor(threads, made.append, "second")
        third = threads.submit(made.append, "third")
        second.cancel()
        assert third.cancel()
        first.cancel()  # it has begun: it goes on, and nobody hears of it
        goes_on.set()
        await loop.loop.run_in_executor(threads, made.append, "last")
        with pytest.raises(CancelledError):
            third.result(SOON)

    loop.submit(main()).result(SOON)
    assert made == ["held", "last"]


def test_a_loop_that_is_closed_meanwhile_harms_no_thread() -> None:
    threads, begun, goes_on = Threads(1, "t-closed"), threading.Event(), threading.Event()

    def hold() -> None:
        begun.set()
        goes_on.wait(SOON)

    async def main() -> None:
        threads.reply(asyncio.get_running_loop(), hold)
        await asyncio.to_thread(begun.wait, SOON)

    asyncio.run(main())
    goes_on.set()
    assert threads.submit(int, "7").result(SOON) == 7


def test_once_shut_down_they_end_behind_what_was_taken() -> None:
    threads, made = Threads(2, "t-shut"), list[int]()
    for n in range(50):
        threads.submit(made.append, n)
    threads.shutdown()
    assert sorted(made) == [*range(50)]
    assert not named("t-shut")
    with pytest.raises(RuntimeError, match="take no more calls"):
        threads.submit(int)


def test_those_of_nobody_end() -> None:
    threads = Threads(2, "t-nobody")
    threads.submit(int).result(SOON)
    mine = named("t-nobody")
    assert mine
    del threads
    gc.collect()
    assert ended(mine)


def test_what_has_begun_ends_before_the_program_does() -> None:
    code = (
        "import time\nfrom app.concurrency.threads import Threads\n"
        "def act():\n    time.sleep(0.3)\n    print('ended', flush=True)\n"
        "Threads(1, 'idle').submit(int).result()\n"
        "threads = Threads(1, 'busy')\nthreads.submit(act)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert (run.stdout, run.returncode, run.stderr) == ("ended\n", 0, "")


def test_threads_of_others_serve_the_loop_too(loop: LoopThread) -> None:
    async def main() -> int:
        with ThreadPoolExecutor(1) as others:
            return await loop.loop.run_in_executor(others, int, "7")

    assert loop.submit(main()).result(SOON) == 7


def test_a_reply_holds_nothing_of_an_error_that_was_told() -> None:
    threads = Threads(1, "t-held")

    class HeldError(Exception):
        pass

    def fail() -> None:
        raise HeldError

    with suppress(HeldError):
        threads.submit(fail).result(SOON)
    threads.submit(int).result(SOON)
    gc.collect()
    assert not [one for one in gc.get_objects() if isinstance(one, HeldError)]
