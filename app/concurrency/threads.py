"""Threads that are handed calls at little cost.

A thread pool of the standard library makes a future with a condition for each call, and the loop
another one, which are chained: for a call of some microseconds that takes three times as long as
its way to a thread and back. Here a call is one entry of a queue, and its reply one of the loop.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from typing import Any, ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Threads(Executor):
    """Up to ``most`` threads, each started when all others are at work.

    Those of one that nobody has any more end by themselves; at the program's end all calls that
    have begun come to theirs first.
    """

    def __init__(self, most: int, name: str) -> None:
        self._crew = _Crew(most, name)
        weakref.finalize(self, self._crew.end).atexit = False

    def submit(self, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have a call made; from any thread."""
        reply: Future[T] = Future()
        self._crew.take(_Submitted(reply), partial(call, *args, **kwargs))
        return reply

    def reply(
        self, loop: asyncio.AbstractEventLoop, call: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        """Have a call made for who awaits it, on the thread of that loop."""
        reply: asyncio.Future[T] = loop.create_future()
        self._crew.take(_Awaited(loop, reply), partial(call, *args) if args else call)
        return reply

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002 - as its base has it
        """Take no more calls. The threads end behind those that there are."""
        self._crew.end()
        if wait:
            self._crew.join()


class _Reply(Protocol):
    """The one who waits for a call."""

    def begins(self) -> bool:
        """Return whether it is still to be made."""
        ...

    def ends(self, value: Any, error: BaseException | None) -> None:
        """Tell what came of it."""
        ...


class _Submitted:
    __slots__ = ("_future",)

    def __init__(self, future: Future[Any]) -> None:
        self._future = future

    def begins(self) -> bool:
        return self._future.set_running_or_notify_cancel()

    def ends(self, value: Any, error: BaseException | None) -> None:
        if error is None:
            self._future.set_result(value)
        else:
            self._future.set_exception(error)


class _Awaited:
    __slots__ = ("_future", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop, future: asyncio.Future[Any]) -> None:
        self._loop, self._future = loop, future

    def begins(self) -> bool:
        return not self._future.cancelled()

    def ends(self, value: Any, error: BaseException | None) -> None:
        with suppress(RuntimeError):  # the loop is closed, and nobody waits
            self._loop.call_soon_threadsafe(self._tell, value, error)

    def _tell(self, value: Any, error: BaseException | None) -> None:
        if self._future.done():  # who waited was cancelled
            return
        if error is None:
            self._future.set_result(value)
        elif isinstance(error, StopIteration):  # nobody may await it (PEP 479)
            self._future.set_exception(_ended(error))
        else:
            self._future.set_exception(error)


def _ended(error: StopIteration) -> RuntimeError:
    told = RuntimeError("a call in a thread raised StopIteration")
    told.__cause__ = error
    return told


class _Crew:
    """The threads themselves, which do not hold who hands them calls."""

    def __init__(self, most: int, name: str) -> None:
        self._most, self._name = most, name
        self._calls = SimpleQueue[tuple[_Reply, Callable[[], Any]] | None]()
        self._lock = threading.RLock()  # a pool may be collected, and so end, within
        self._threads: list[threading.Thread] = []
        self._left = 0  # calls whose end has not come
        self._ended = False
        _CREWS.add(self)

    def take(self, reply: _Reply, call: Callable[[], Any]) -> None:
        """Have a thread make a call.

        Raises:
            RuntimeError: it has ended, or has no thread, and none can be started.
        """
        with self._lock:
            if self._ended:
                raise RuntimeError(f"the threads {self._name} take no more calls")
            if len(self._threads) <= min(self._left, self._most - 1):
                self._start()
            self._left += 1
            self._calls.put((reply, call))

    def end(self) -> None:
        """Have all threads end behind the calls that were taken."""
        with self._lock:
            if not self._ended:
                self._ended = True
                self._calls.put(None)

    def join(self) -> None:
        """Wait until they have."""
        for thread in self._threads:
            thread.join()

    def _start(self) -> None:
        name = f"{self._name}_{len(self._threads)}"
        # None outlives the program's end for all that: see _end_all.
        thread = threading.Thread(target=self._serve, name=name, daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the machine has no more; those that there are get to it
            if not self._threads:
                raise
        else:
            self._threads.append(thread)

    def _serve(self) -> None:
        while (taken := self._calls.get()) is not None:
            self._make(*taken)
            del taken  # what waits for the next call holds nothing of the last one
        self._calls.put(None)  # for the other threads

    def _make(self, reply: _Reply, call: Callable[[], Any]) -> None:
        value, error, begins = None, None, reply.begins()
        if begins:
            try:
                value = call()
            except BaseException as raised:  # noqa: BLE001 - whoever waits has it
                error = raised
        with self._lock:  # before it is told: the next call finds this thread free
            self._left -= 1
        if begins:
            try:
                reply.ends(value, error)
            finally:
                error = None  # it holds this frame


_CREWS: weakref.WeakSet[_Crew] = weakref.WeakSet()
os.register_at_fork(after_in_child=_CREWS.clear)  # none of the threads is there


@atexit.register
def _end_all() -> None:
    """Let calls come to their end before the interpreter does."""
    crews = [*_CREWS]
    for crew in crews:
        crew.end()
    for crew in crews:
        crew.join()
