"""One asyncio loop per process, in a thread of its own, shared by all that waits in it."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from contextvars import Context, copy_context
from functools import partial
from typing import Any, TypeVar, TypeVarTuple

from app.concurrency.future import Future
from app.concurrency.per_process import PerProcess
from app.concurrency.threads import Threads
from celery_agents.errors import LoopStalledError
from celery_agents.noted import note

log = logging.getLogger(__name__)
T = TypeVar("T")
Ts = TypeVarTuple("Ts")

#: Threads for what blocks (a read of the journal, a broadcast): such calls take about
#: a millisecond, so this many keep up with thousands of steps a second.
BLOCKING_THREADS = 16
#: Threads for what blocks for longer: name look-ups, first imports, health checks.
SLOW_THREADS = 32
#: Threads of the loop's default executor. They are for agents (``asyncio.to_thread``) alone: what
#: they do there, and for how long, holds up nothing of ours.
DEFAULT_THREADS = 64
#: Posts of work in bulk that one turn of the loop reads at the most. Each begins a step or lets it
#: go on, about a millisecond; meanwhile everything else waits.
BULK_A_TURN = 8
#: Threads that the calls of one turn share, and seconds after which as many more take what is
#: left of them: those that do not come back hold up nobody else for long.
SHARED_BY, SHARED_AGAIN_S = 4, 0.05
_Post = tuple[Callable[..., Any], tuple[Any, ...]]


class _Loop(asyncio.SelectorEventLoop):
    """asyncio's own loop, with threads of ours, of which the ``slow`` ones resolve names."""

    def __init__(self, thread: LoopThread) -> None:
        super().__init__()
        self.thread = thread
        self.hand_over = thread.hand_over
        self.slow = Threads(SLOW_THREADS, "agents-slow")
        self.default: Executor = Threads(DEFAULT_THREADS, "agents-default")

    def set_default_executor(self, executor: Executor) -> None:
        self.default = executor

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts
    ) -> asyncio.Future[T]:
        threads = self.default if executor is None else executor
        if isinstance(threads, Threads):
            return threads.reply(self, func, *args)
        return super().run_in_executor(threads, func, *args)

    async def getaddrinfo(self, *args: Any, **kwargs: Any) -> Any:
        look_up = partial(socket.getaddrinfo, *args, **kwargs)
        return await self.run_in_executor(self.slow, look_up)

    async def getnameinfo(self, sockaddr: Any, flags: int = 0) -> Any:
        return await self.run_in_executor(self.slow, socket.getnameinfo, sockaddr, flags)


def loop_here() -> LoopThread | None:
    """The loop on whose thread the caller runs, as a fiber or in a coroutine; None: on no such."""
    running = asyncio._get_running_loop()  # noqa: SLF001 - the public one raises where there is none
    return running.thread if isinstance(running, _Loop) else None


class LoopThread:
    """Coroutines of many steps on one loop, so that waiting needs no thread each."""

    def __init__(self) -> None:
        self.loop = _Loop(self)
        self.slow = self.loop.slow
        self.blocking = Threads(BLOCKING_THREADS, "agents-blocking")
        self._mail: deque[_Post] = deque()
        self._bulk: deque[_Post] = deque()
        self._calls: deque[Callable[[], object]] = deque()
        self._shares_again = False
        self._posted = False
        self._turn = False
        self.fibers = 0  # under way on it (app/concurrency/fibers.py)
        #: Held on its thread amid what must not be interrupted there (app/concurrency/watchdog.py).
        self.unbroken = threading.RLock()
        self._last: dict[Callable[[], None], None] = {}  # in their order, each once
        self._context = Context()  # not that of whoever happens to wake the loop
        self._ends = False
        self._thread = threading.Thread(target=self._run, name="agents-loop", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        while not self._ends:
            try:
                self.loop.run_forever()
            except (SystemExit, KeyboardInterrupt):  # of one coroutine, whose task has it too
                log.warning("A coroutine raised what ends a program; the loop goes on")
            except LoopStalledError:  # it came when the coroutine had just ended
                log.warning("What held the loop up has ended; the loop goes on")

    @property
    def here(self) -> bool:
        """True when the caller runs on this loop's thread."""
        return threading.get_ident() == self._thread.ident

    @property
    def thread_id(self) -> int:
        """The identifier of the loop's thread; 0 before it has started."""
        return self._thread.ident or 0

    def post(self, call: Callable[..., Any], *args: Any) -> None:
        """Call something on the loop's thread, soon; from any thread.

        Many posts share one wake of the loop: a wake is a system call, and a commit resolves the
        futures of many steps at once.
        """
        self._mail.append((call, args))
        self._wake()

    def post_bulk(self, call: Callable[..., Any], *args: Any) -> None:
        """As :meth:`post`, for work of which there is much: in each turn, a few behind all else."""
        self._bulk.append((call, args))
        self._wake()

    def _wake(self) -> None:
        if not self._posted:
            self._posted = True
            if self.here:
                self.loop.call_soon(self._read_mail, context=self._context)
            else:
                self.loop.call_soon_threadsafe(self._read_mail, context=self._context)

    def _read_mail(self) -> None:
        self._posted = False  # before reading: what is posted from now on wakes again
        self._turn = True
        try:
            self._read(self._mail, len(self._mail))
            self._read(self._bulk, min(len(self._bulk), BULK_A_TURN))
        finally:  # also where the watchdog, or what ends a program, breaks in
            self._turn = False
            if self._mail or self._bulk:
                self._wake()
            self.hand_over()

    def _read(self, posts: deque[_Post], count: int) -> None:
        for _ in range(count):
            call, args = posts.popleft()
            self._call(call, *args)

    def at_turns_end(self, call: Callable[[], None]) -> None:
        """Call something once all posts of this turn are read; on the loop's thread.

        What many steps want at the same time is gathered until then, and handed over at once:
        threads that are woken for each one take turns at the interpreter with the loop.
        """
        if not (self._turn or self._last):
            self.loop.call_soon(self.hand_over)
        self._last[call] = None

    def in_threads(self, call: Callable[[], object]) -> None:
        """Have a thread make a call that takes a moment; on the loop's thread.

        Those of one turn share few threads: to wake one for each takes as long as such a call.
        """
        self._calls.append(call)
        self.at_turns_end(self._share)

    def _share(self) -> None:
        for _ in range(min(len(self._calls), SHARED_BY)):
            self.blocking.submit(self._make_calls)
        if self._calls and not self._shares_again:
            self._shares_again = True
            self.loop.call_later(SHARED_AGAIN_S, self._share_again, context=self._context)

    def _share_again(self) -> None:
        self._shares_again = False
        self._share()

    def _make_calls(self) -> None:
        while self._calls:
            try:
                call = self._calls.popleft()
            except IndexError:  # another thread has it
                return
            self._call(call)

    def hand_over(self) -> None:
        """Do what was left for the end of the turn: that has come, or the thread will block."""
        calls, self._last = self._last, {}
        for call in calls:
            self._call(call)

    def _call(self, call: Callable[..., Any], *args: Any) -> None:
        try:
            call(*args)
        except Exception as error:  # noqa: BLE001 - it is noted
            note(log, "loop_call", "A call on the loop failed", error=error, trace=True)

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> Work[T]:
        """Start a coroutine; from any thread."""
        work = Work(self, coroutine)
        if self.here:
            work.begin()
        else:
            self.post(copy_context().run, work.begin)  # the caller's variables
        return work

    def close(self) -> None:
        """Cancel what still runs and stop the loop."""

        async def stop() -> None:
            me = asyncio.current_task()
            tasks = [t for t in asyncio.all_tasks() if t is not me]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.loop.shutdown_asyncgens()

        self.submit(stop()).result(timeout=10)
        self._ends = True
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(timeout=5)
        for executor in (self.blocking, self.slow, self.loop.default):
            executor.shutdown(wait=False)
        if not self._thread.is_alive():
            self.loop.close()


class Work(Future[T]):
    """A coroutine on the loop, with a future of its end."""

    __slots__ = ("_coroutine", "_thread", "task")

    def __init__(self, thread: LoopThread, coroutine: Coroutine[Any, Any, T]) -> None:
        super().__init__()
        self._thread = thread
        self._coroutine = coroutine
        self.task: asyncio.Task[T] | None = None

    def begin(self) -> None:
        """Start the coroutine, on the loop's thread."""
        if self.done():  # cancelled before
            self._coroutine.close()
            return
        self.task = self._thread.loop.create_task(self._coroutine)
        self.task.add_done_callback(self._ended)

    def cancel(self) -> bool:
        """Cancel it, from any thread; False when it is over already.

        Who waits need not wait for the coroutine to see it.
        """
        if self.done():
            return False
        self._thread.post(self._stop)  # before who waits is woken
        self.set_exception(asyncio.CancelledError())
        return True

    def _stop(self) -> None:
        if self.task is not None:
            self.task.cancel()

    def _ended(self, task: asyncio.Task[T]) -> None:
        if task.cancelled():
            self.set_exception(asyncio.CancelledError())
        elif (error := task.exception()) is not None:
            self.set_exception(error)
        else:
            self.set_result(task.result())


_loop: PerProcess[LoopThread] = PerProcess()


def process_loop() -> LoopThread:
    """Return this process's loop, made on first use."""
    held = _loop.get(LoopThread)
    if held.loop.is_closed():
        _loop.drop()
        return process_loop()
    return held
