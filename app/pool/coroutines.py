"""Coroutine functions as Celery's tasks: its tracer waits for them, and they can be stopped."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine, Generator
from functools import wraps
from typing import Any

from greenlet import getcurrent

from app.concurrency.fibers import in_fiber, wait, whose
from app.concurrency.loop import Work, process_loop


def adapt(task: Any) -> None:
    """Make a task of any app ready for the pool; a coroutine function goes on the loop."""
    task.request_stack.__ident_func__ = whose
    name = "_orig_run" if hasattr(task, "_orig_run") else "run"  # autoretry_for wraps it
    function = getattr(task, name)
    if not getattr(task, "on_loop", False) and inspect.iscoroutinefunction(function):
        setattr(task, name, _awaited(function))
        task.on_loop = True


def _awaited(function: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Any]:
    """A coroutine function as Celery's tracer calls it: it waits for the coroutine's end."""

    @wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        loop = process_loop()
        if loop.here and not in_fiber():  # a coroutine calls it, and awaits what it gets
            return function(*args, **kwargs)
        coroutine = Interruptible(function(*args, **kwargs))
        coroutine.work = loop.submit(coroutine.run())
        job = getattr(getcurrent(), "job", None)
        if job is not None:
            job.waits_for(coroutine)
        return wait(coroutine.work)

    return run


class Interruptible:
    """A coroutine that can be told to raise something where it waits."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._coroutine = coroutine
        self._raises: BaseException | None = None
        self._stopped = False
        self.work: Work[Any] | None = None
        self._task: asyncio.Task[Any] | None = None

    async def run(self) -> Any:
        """Run the coroutine, as the task that can be interrupted."""
        self._task = asyncio.current_task()
        return await self

    def interrupt(self, error: BaseException) -> None:
        """Raise ``error`` at its await, or as it begins; on the loop's thread."""
        if self._stopped or (self._task is not None and self._task.done()):
            return
        self._raises = error
        if self._task is not None:
            self._task.cancel()

    def stop(self, leaving: set[asyncio.Task[Any]]) -> None:
        """Cancel it; on the loop's thread. Until it has ended it is in ``leaving``."""
        self._stopped, self._raises = True, None  # an interruption may be swallowed
        if self._task is None:
            self._coroutine.close()
        elif not self._task.done():
            leaving.add(self._task)
            self._task.add_done_callback(leaving.discard)
        if self.work is not None:
            self.work.cancel()

    def __await__(self) -> Generator[Any, Any, Any]:
        step, value = self._coroutine.send, None
        if self._raises is not None:
            step, value = self._coroutine.throw, self._taken()
        while True:
            try:
                waits_for = step(value)
            except StopIteration as end:
                return end.value
            try:
                value = yield waits_for
                step = self._coroutine.send
            except asyncio.CancelledError as cancelled:
                step, value = self._coroutine.throw, cancelled
                if self._raises is not None and self._task is not None:
                    value = self._taken()
                    self._task.uncancel()  # for timeouts and task groups to come
            except BaseException as error:  # noqa: BLE001 - the coroutine's to handle
                step, value = self._coroutine.throw, error

    def _taken(self) -> BaseException:
        error, self._raises = self._raises, None
        assert error is not None
        return error
