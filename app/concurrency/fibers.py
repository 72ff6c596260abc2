"""Synchronous code on the event loop: a fiber waits without holding a thread.

Celery's tracer (states, results, links, signals) is synchronous. In a fiber, a greenlet on the
loop's thread, it runs unchanged: where the code around a step would block, the fiber gives the
loop back until what it waits for is there. It is the bridge that SQLAlchemy's asyncio
extension stands on. Outside of a fiber the same calls simply block.

A fiber must not hold a lock while it waits: another one on the same thread would wait for it for
ever.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from contextvars import ContextVar, copy_context
from functools import partial
from typing import Any, Generic, TypeVar

from greenlet import getcurrent, greenlet

from app.concurrency.future import Future
from app.concurrency.loop import LoopThread, loop_here, process_loop

T = TypeVar("T")

#: A loop's only fiber waits so long at its place for a call in a thread, before it lets go.
BRIEF_S = 0.005

#: The fiber for which something runs: what a fiber starts on the loop inherits it.
_fiber: ContextVar[Fiber | None] = ContextVar("fiber", default=None)


class Fiber(greenlet):
    """One function that runs on the loop's thread, and stops where it waits.

    Each has context variables of its own; they begin empty, as a thread's do.
    """

    def __init__(self, loop: LoopThread, function: Callable[[], None]) -> None:
        super().__init__(self._run)
        self.thread = loop
        self.job: Any = None  # whose it is, in a pool
        self.bulk = False  # one of many, which let others go first
        self._function = function
        self._waits_for: object | None = None

    def _run(self) -> None:
        _fiber.set(self)
        self.thread.fibers += 1
        try:
            self._function()
        finally:
            self.thread.fibers -= 1
            _fiber.set(None)  # its context is its own: no garbage that refers to itself

    def begin(self) -> None:
        """Run until the first wait; on the loop's thread."""
        self.switch()

    def wait(self, reply: Future[T]) -> T:
        """Wait for a reply and return its value; the loop goes on meanwhile."""
        if not reply.done():
            ticket = self._waits_for = object()
            post = _post_of(self, self.thread)
            reply.add_done_callback(lambda _: post(self._resume, ticket))
            self.parent.switch()
        return reply.result()

    def kill(self) -> None:
        """End it where it waits: GreenletExit is raised there. On the loop's thread."""
        if self._waits_for is not None:
            self._waits_for = None
            self.throw()

    def _resume(self, ticket: object) -> None:
        if self._waits_for is ticket:  # else it was killed meanwhile
            self._waits_for = None
            self.switch()


def _post_of(fiber: Fiber | None, thread: LoopThread) -> Callable[..., None]:
    return thread.post_bulk if fiber is not None and fiber.bulk else thread.post


def whose() -> Any:
    """Return the owner of a stack of Celery's (of tasks, of requests).

    A fiber, for itself and for its coroutine and all that this one starts; else the thread.
    """
    return _fiber.get() or getcurrent()


def current() -> Fiber | None:
    """The fiber that the caller is, if it is one."""
    me = getcurrent()
    return me if isinstance(me, Fiber) else None


def in_fiber() -> bool:
    """Return whether the caller is a fiber."""
    return current() is not None


def wait(reply: Future[T]) -> T:
    """Wait for a reply: a fiber lets the loop go on meanwhile, other callers block their thread."""
    me = current()
    return reply.result() if me is None else me.wait(reply)


async def arrival(reply: Future[T]) -> T:
    """Await a reply on the process's loop."""
    if not reply.done():
        thread = process_loop()
        come = thread.loop.create_future()
        post = _post_of(_fiber.get(), thread)
        reply.add_done_callback(lambda _: post(_tell, come))
        await come
    return reply.result()


async def in_thread(call: Callable[..., T], *args: Any, slow: bool = False) -> T:
    """Run a blocking call of ours in a thread and await it; ``slow``: longer than a moment.

    ``asyncio.to_thread`` is for the agents' code, which may fill its threads for long.
    """
    thread = process_loop()
    executor = thread.slow if slow else thread.blocking
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(executor, copy_context().run, call, *args)


def _tell(come: asyncio.Future[None]) -> None:
    if not come.done():  # else who waited was cancelled
        come.set_result(None)


def alone() -> bool:
    """Return whether the caller is a loop's only fiber, or its coroutine: it may block briefly.

    To hand something over to a thread, and to be woken again, takes as long as a small write; and
    there is nobody else whom it would hold up.
    """
    if (me := current()) is not None:
        return me.thread.fibers == 1
    try:
        running = asyncio.get_running_loop()
    except RuntimeError:
        return False
    thread = process_loop()
    return thread.loop is running and thread.fibers == 1


def unbroken() -> AbstractContextManager[object]:
    """Keep what somebody who is alone waits for from being interrupted as if it computed.

    It has bounds of its own, and half of a write would be taken for a refused one.
    """
    me = current()
    return (process_loop() if me is None else me.thread).unbroken


class Gathered(Generic[T]):
    """Passes things on to ``deliver``: what is added on a loop together, at its turn's end."""

    def __init__(self, deliver: Callable[[list[T]], None]) -> None:
        self._deliver = deliver
        self._things: list[T] = []

    @property
    def waiting(self) -> Sequence[T]:
        """Things that are passed on when this turn ends; to be looked at on the loop's thread."""
        return self._things

    def add(self, thing: T) -> None:
        """Pass a thing on: at once, unless the caller is a fiber or a coroutine of ours."""
        if (thread := loop_here()) is None:
            self._deliver([thing])
            return
        self._things.append(thing)  # on the loop's thread, as its flush
        thread.at_turns_end(self._flush)

    def _flush(self) -> None:
        things, self._things = self._things, []
        self._deliver(things)


def blocking(call: Callable[..., T], *args: Any) -> T:
    """Run a blocking call and return its result; from a fiber, run it in a thread."""
    me = current()
    if me is None:
        return call(*args)
    reply: Future[T] = Future()
    me.thread.blocking.submit(_answer, reply, call, *args)
    return me.wait(reply)


def brief(call: Callable[..., T], *args: Any) -> T:
    """Run a call that is nearly always over in no time, and may block for ever all the same.

    As :func:`blocking`, in a thread, which those share that are asked for in one turn of the loop.
    But the loop's only fiber waits for a moment where it stands: to let the loop go and be woken by
    it again takes longer than such a call.
    """
    me = current()
    if me is None:
        return call(*args)
    reply: Future[T] = Future()
    if alone():
        me.thread.blocking.submit(_answer, reply, call, *args)
        reply.come_within(BRIEF_S)
    else:
        me.thread.in_threads(partial(_answer, reply, call, *args))
    return me.wait(reply)


def _answer(reply: Future[T], call: Callable[..., T], *args: Any) -> None:
    try:
        reply.set_result(call(*args))
    except BaseException as error:  # noqa: BLE001 - the caller's to handle
        reply.set_exception(error)


def sleep(seconds: float) -> None:
    """Pause the caller."""
    me = current()
    if me is None:
        time.sleep(seconds)
        return
    over: Future[None] = Future()
    me.thread.loop.call_later(seconds, over.set_result, None)
    me.wait(over)
