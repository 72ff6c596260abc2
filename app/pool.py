"""A Celery pool for work that waits: tasks run on one asyncio loop, without a thread each.

``celery worker -P custom`` with ``CELERY_CUSTOM_WORKER_POOL=app.pool:CoroutinePool``, or the
setting ``worker_pool``. Three kinds of tasks run in it:

- **steps**: Celery's own tracer in a fiber (:mod:`app.fibers`), the agent's coroutine on the loop;
- **coroutine functions** of any Celery app (``async def`` tasks): the same;
- other tasks: in threads, as in Celery's threads pool.

Of the first two, a running task can be stopped: ``revoke(terminate=True)`` and hard time limits
cancel its coroutine, and a soft time limit raises SoftTimeLimitExceeded at its ``await``. A thread
cannot be stopped.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import ThreadPoolExecutor
from functools import wraps
from typing import Any

from billiard.einfo import ExceptionInfo
from celery.app.trace import build_tracer
from celery.concurrency.base import BasePool
from celery.exceptions import SoftTimeLimitExceeded
from greenlet import GreenletExit, getcurrent

from app.fibers import Fiber, wait
from app.loop import Work, process_loop

log = logging.getLogger(__name__)

#: Threads for tasks that are neither steps nor coroutines, as long as they are fewer than slots.
SYNC_THREADS = 32


class CoroutinePool(BasePool):
    """``worker_pool`` of agents' workers; ``--concurrency`` is how many tasks run at once."""

    limit: int
    body_can_be_buffer = True
    signal_safe = False  # stopping waits

    def on_start(self) -> None:
        self.loop = process_loop()
        self._threads = ThreadPoolExecutor(min(SYNC_THREADS, self.limit), "agents-task")
        self._jobs: set[Job] = set()
        self._waiting: deque[Job] = deque()  # more than slots, where prefetching is on
        self._ended: deque[tuple[Job, Callable[..., Any] | None, Any]] = deque()
        self._reaping = False
        self._hub: Any = None
        self._change = threading.Event()

    def register_with_event_loop(self, loop: Any) -> None:
        self._hub = loop

    @property
    def num_processes(self) -> int:
        """Slots, by Celery's name for them."""
        return self.limit

    def grow(self, n: int) -> None:
        self.limit += n
        self._start_waiting()

    def shrink(self, n: int) -> None:
        self.limit = max(self.limit - n, 1)

    # -- running

    def on_apply(self, target: Any, args: Any = None, kwargs: Any = None, **options: Any) -> Job:
        job = Job(self, target, args or (), kwargs or {}, options)
        if len(self._jobs) < self.limit:
            self._start(job)
        else:
            self._waiting.append(job)
        return job

    def _start(self, job: Job) -> None:
        self._jobs.add(job)
        job.accept()
        if job.on_loop:
            self.loop.post(job.begin)
        else:
            self._threads.submit(job.run)

    def _start_waiting(self) -> None:
        while self._waiting and len(self._jobs) < self.limit:
            self._start(self._waiting.popleft())

    def ended(self, job: Job, call: Callable[..., Any] | None, value: Any) -> None:
        """A job is over; what Celery wants to know of it is told in the worker's main thread."""
        self._ended.append((job, call, value))
        self._change.set()
        if self._hub is None:
            self._reap()
        elif not self._reaping:  # one wake of the hub for all that end before it looks
            self._reaping = True
            self._hub.call_soon(self._reap)

    def told(self, call: Callable[..., Any] | None, *args: Any) -> None:
        """Tell Celery something about a job that goes on."""
        if call is not None and self._hub is not None:
            self._hub.call_soon(call, *args)
        elif call is not None:
            call(*args)

    def _reap(self) -> None:
        self._reaping = False
        for _ in range(len(self._ended)):
            job, call, value = self._ended.popleft()
            self._jobs.discard(job)
            if call is not None:
                try:
                    call(value)
                except Exception:
                    log.exception("Celery could not be told how %s ended", job)
        self._start_waiting()

    # -- the end

    def on_close(self) -> None:
        self._waiting.clear()  # not begun: their messages go back when the connection is closed

    def on_stop(self) -> None:
        """Warm shutdown: what runs may end."""
        self._hub = None  # it does not run any more
        while self._jobs:
            self._change.wait(1.0)
            self._change.clear()
            self._reap()
        self._threads.shutdown(wait=False)

    def on_terminate(self) -> None:
        """Cold shutdown: what runs on the loop is ended where it waits."""
        self._hub = None
        for job in list(self._jobs):
            job.terminate()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def terminate_job(self, pid: int, signal: Any = None) -> None:
        """Nothing to do here: Celery goes on to terminate the job itself, see :class:`Job`."""

    def _get_info(self) -> dict[str, Any]:
        info: dict[str, Any] = super()._get_info()
        on_loop = sum(job.on_loop for job in list(self._jobs))
        return {
            **info,
            "max-concurrency": self.limit,
            "on-loop": on_loop,
            "in-threads": len(self._jobs) - on_loop,
        }


class Job:
    """One task in the pool; what Celery holds of it as its *apply result*."""

    def __init__(
        self, pool: CoroutinePool, target: Any, args: Any, kwargs: Any, options: dict[str, Any]
    ) -> None:
        self._pool = pool
        self._target = target
        self._args = args
        self._kwargs = kwargs
        self._options = options
        self._task = pool.app.tasks[args[0]] if pool.app and args else None
        self.on_loop = self._task is not None and _goes_on_loop(self._task, pool.app)
        self.coroutine: Interruptible | None = None
        self._fiber: Fiber | None = None
        self._timers: list[asyncio.TimerHandle] = []
        self._over = False

    def __str__(self) -> str:
        return str(self._options.get("correlation_id"))

    def accept(self) -> None:
        if (accepted := self._options.get("accept_callback")) is not None:
            accepted(os.getpid(), time.monotonic())

    def begin(self) -> None:
        """Run in a fiber; on the loop's thread."""
        if self._over:  # terminated before it began
            return
        soft, hard = self._options.get("soft_timeout"), self._options.get("timeout")
        if not getattr(self._task, "keeps_time", False):  # a step's deadline is its own business
            for limit, call in ((soft, self._soft_limit), (hard, self._hard_limit)):
                if limit:
                    self._timers.append(self._pool.loop.loop.call_later(limit, call, limit))
        self._fiber = Fiber(self._pool.loop, self.run)
        self._fiber.job = self
        self._fiber.begin()

    def run(self) -> None:
        """Celery's tracer, then what came out of it for Celery's request."""
        call = self._options.get("callback")
        try:
            value = self._target(*self._args, **self._kwargs)
        except GreenletExit:
            return
        except BaseException:  # noqa: BLE001 - to Celery's request these are lost workers
            call, value = self._options.get("error_callback"), ExceptionInfo()
        self._end(call, value)

    def terminate(self, signal: Any = None) -> None:  # noqa: ARG002 - Celery's signature
        """Stop it, whatever it does; nothing more is told of it. From any thread."""
        if not self.on_loop:
            log.warning("%s runs in a thread, which cannot be stopped", self)
            return
        self._pool.loop.post(self._kill)

    def _kill(self) -> None:
        self._end(None, None)
        if self.coroutine is not None:
            self.coroutine.stop()
        if self._fiber is not None:
            self._fiber.kill()

    def _soft_limit(self, limit: float) -> None:
        self._pool.told(self._options.get("timeout_callback"), True, limit)
        if self.coroutine is not None:
            self.coroutine.interrupt(SoftTimeLimitExceeded())

    def _hard_limit(self, limit: float) -> None:
        self._pool.told(self._options.get("timeout_callback"), False, limit)
        self._kill()

    def _end(self, call: Callable[..., Any] | None, value: Any) -> None:
        if not self._over:
            self._over = True
            for timer in self._timers:
                timer.cancel()
            self._pool.ended(self, call, value)


class Interruptible:
    """A coroutine that can be told to raise something where it waits."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._coroutine = coroutine
        self._raises: BaseException | None = None
        self.work: Work[Any] | None = None
        self._task: asyncio.Task[Any] | None = None

    async def run(self) -> Any:
        self._task = asyncio.current_task()
        return await self

    def interrupt(self, error: BaseException) -> None:
        """Raise ``error`` at its await; on the loop's thread."""
        if self._task is not None and not self._task.done():
            self._raises = error
            self._task.cancel()

    def stop(self) -> None:
        """Cancel it."""
        if self.work is not None:
            self.work.cancel()

    def __await__(self) -> Generator[Any, Any, Any]:
        step, value = self._coroutine.send, None
        while True:
            try:
                waits_for = step(value)
            except StopIteration as end:
                return end.value
            try:
                value = yield waits_for
                step = self._coroutine.send
            except asyncio.CancelledError as error:
                step, value = self._coroutine.throw, self._raises or error
                self._raises = None
            except BaseException as error:  # noqa: BLE001 - the coroutine's to handle
                step, value = self._coroutine.throw, error


def _goes_on_loop(task: Any, app: Any) -> bool:
    if getattr(task, "on_loop", False):
        return True
    if inspect.iscoroutinefunction(task.run):
        task.run = _awaited(task.run)
        task.on_loop = True
        task.__trace__ = build_tracer(task.name, task, app.loader, None, app=app)
        return True
    return False


def _awaited(function: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Any]:
    """A coroutine function as Celery's tracer calls it: it waits for the coroutine's end."""

    @wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        coroutine = Interruptible(function(*args, **kwargs))
        work = coroutine.work = process_loop().submit(coroutine.run())
        job = getattr(getcurrent(), "job", None)
        if job is not None:
            job.coroutine = coroutine
        return wait(work)

    return run
