"""Synchronous code on the event loop: a fiber waits for futures without holding a thread.

Celery's tracer (states, results, links, signals) is synchronous. In a fiber, a greenlet on the
loop's thread, it runs unchanged: where the code around a step would block on a future, the fiber
gives the loop back until the future is there. It is the bridge that SQLAlchemy's asyncio
extension stands on. Outside of a fiber the same calls simply block.

A fiber must not hold a lock while it waits: another one on the same thread would wait for it for
ever.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from greenlet import getcurrent, greenlet

from app.loop import LoopThread

T = TypeVar("T")


class Fiber(greenlet):
    """One function that runs on the loop's thread, and stops where it waits."""

    def __init__(self, loop: LoopThread, function: Callable[[], None]) -> None:
        super().__init__(function)
        self.thread = loop
        self._waits_for: object | None = None

    def begin(self) -> None:
        """Run until the first wait; on the loop's thread."""
        self.switch()

    def wait(self, future: Future[T]) -> T:
        """The future's result. The loop goes on meanwhile."""
        if not future.done():
            ticket = self._waits_for = object()
            future.add_done_callback(lambda _: self.thread.post(self._resume, ticket))
            self.parent.switch()
        return future.result()

    def kill(self) -> None:
        """End it where it waits: GreenletExit is raised there. On the loop's thread."""
        if self._waits_for is not None:
            self._waits_for = None
            self.throw()

    def _resume(self, ticket: object) -> None:
        if self._waits_for is ticket:  # else it was killed meanwhile
            self._waits_for = None
            self.switch()


def in_fiber() -> bool:
    """Whether the caller is a fiber."""
    return isinstance(getcurrent(), Fiber)


def wait(future: Future[T]) -> T:
    """The future's result, waited for as the caller may."""
    me = getcurrent()
    return me.wait(future) if isinstance(me, Fiber) else future.result()


def blocking(call: Callable[..., T], *args: Any) -> T:
    """The result of a call that blocks; from a fiber it is made in a thread."""
    me = getcurrent()
    if not isinstance(me, Fiber):
        return call(*args)
    return me.wait(me.thread.blocking.submit(call, *args))


def sleep(seconds: float) -> None:
    """Pause the caller."""
    me = getcurrent()
    if not isinstance(me, Fiber):
        time.sleep(seconds)
        return
    over: Future[None] = Future()
    me.thread.loop.call_later(seconds, over.set_result, None)
    me.wait(over)
