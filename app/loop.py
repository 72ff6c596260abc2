"""One asyncio loop per process, in a thread of its own, shared by all that waits in it."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, InvalidStateError, ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

log = logging.getLogger(__name__)
T = TypeVar("T")

#: Threads for what blocks (a read of the journal, a breaker's round trip): such calls take about
#: a millisecond, so this many keep up with thousands of steps a second.
BLOCKING_THREADS = 16


class LoopThread:
    """Coroutines of many steps on one loop, so that waiting needs no thread each."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.blocking = ThreadPoolExecutor(BLOCKING_THREADS, "agents-blocking")
        self.loop.set_default_executor(self.blocking)
        self._mail: deque[tuple[Callable[..., Any], tuple[Any, ...]]] = deque()
        self._posted = False
        self._thread = threading.Thread(target=self._run, name="agents-loop", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    @property
    def here(self) -> bool:
        """Whether the caller runs on this loop's thread."""
        return threading.get_ident() == self._thread.ident

    def post(self, call: Callable[..., Any], *args: Any) -> None:
        """Have something called on the loop's thread, soon; from any thread.

        Many posts share one wake of the loop: a wake is a system call, and a commit resolves the
        futures of many steps at once.
        """
        self._mail.append((call, args))
        if not self._posted:
            self._posted = True
            if self.here:
                self.loop.call_soon(self._read_mail)
            else:
                self.loop.call_soon_threadsafe(self._read_mail)

    def _read_mail(self) -> None:
        self._posted = False  # before reading: what is posted from now on wakes again
        for _ in range(len(self._mail)):
            call, args = self._mail.popleft()
            try:
                call(*args)
            except Exception:
                log.exception("A call on the loop failed")

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Start a coroutine; from any thread. Cancelling the future cancels the coroutine."""
        future: Future[T] = Future()
        if self.here:
            self._begin(coroutine, future)
        else:
            self.post(self._begin, coroutine, future)
        return future

    def _begin(self, coroutine: Coroutine[Any, Any, T], future: Future[T]) -> None:
        if future.cancelled():
            coroutine.close()
            return
        task = self.loop.create_task(coroutine)

        def cancelled(wanted: Future[T]) -> None:
            if wanted.cancelled():
                self.post(task.cancel)

        future.add_done_callback(cancelled)
        task.add_done_callback(partial(_resolve, future))

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
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(timeout=5)
        self.blocking.shutdown(wait=False)
        if not self._thread.is_alive():
            self.loop.close()


def _resolve(future: Future[T], task: asyncio.Task[T]) -> None:
    """Hand a coroutine's end on, unless nobody waits for it any more."""
    try:
        if task.cancelled():
            future.cancel()
        elif (error := task.exception()) is not None:
            future.set_exception(error)
        else:
            future.set_result(task.result())
    except InvalidStateError:  # cancelled meanwhile
        pass


_held: tuple[int, LoopThread] | None = None
_making = threading.Lock()


def process_loop() -> LoopThread:
    """This process's loop, made on first use; a forked child makes its own."""
    global _held  # noqa: PLW0603 - one for each process is what it is for
    with _making:
        if _held is None or _held[0] != os.getpid() or _held[1].loop.is_closed():
            _held = os.getpid(), LoopThread()
        return _held[1]


def _renew_lock() -> None:
    global _making  # noqa: PLW0603 - a fork may have copied it in its locked state
    _making = threading.Lock()


os.register_at_fork(after_in_child=_renew_lock)
