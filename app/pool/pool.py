"""A Celery pool for work that waits: tasks run on one asyncio loop, without a thread each.

``celery worker -P custom`` with ``CELERY_CUSTOM_WORKER_POOL=app.pool:CoroutinePool``, or the
setting ``worker_pool``. Three kinds of tasks run in it:

- **steps**: Celery's own tracer in a fiber (:mod:`app.concurrency.fibers`), the agent's coroutine
  on the loop;
- **coroutine functions** of any Celery app (``async def`` tasks): the same;
- other tasks: in threads, as in Celery's threads pool.

Of the first two, a running task can be stopped: ``revoke(terminate=True)`` and hard time limits
cancel its coroutine, and a soft time limit raises SoftTimeLimitExceeded at its ``await``. A thread
cannot be stopped. docs/pool.md tells more.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from billiard.einfo import ExceptionInfo
from celery._state import _task_stack
from celery.concurrency.base import BasePool
from celery.exceptions import ImproperlyConfigured, SoftTimeLimitExceeded
from celery.utils import log as celery_log
from celery.utils.threads import USE_FAST_LOCALS
from celery.worker.request import Request
from greenlet import GreenletExit

from app.concurrency.fibers import Fiber, whose
from app.concurrency.loop import process_loop
from app.pool.coroutines import Interruptible, adapt
from app.pool.permits import Permits
from app.pool.scheduler import Slots
from app.pool.tracebacks import be_brief
from celery_agents import names
from celery_agents.noted import note

log = logging.getLogger(__name__)

#: Threads for tasks that are neither steps nor coroutines; more of these wait for one.
SYNC_THREADS = 32
#: One step for so many slots is taken ahead. Few: others could run it, or a more urgent one come.
AHEAD = 4
#: The place of a message's headers among what Celery tells a pool of a task.
_HEADERS = 2
#: Coroutines that were cancelled may clean up for so long before the worker ends.
CLEANUP_S = 5.0


class CoroutinePool(BasePool):
    """``worker_pool`` of agents' workers; ``--concurrency`` is how many tasks run at once."""

    limit: int
    body_can_be_buffer = True
    signal_safe = False  # stopping waits

    def on_start(self) -> None:
        """Adapt the tasks; make the loop, the slots and the threads."""
        if USE_FAST_LOCALS:  # one stack for a thread: each task would have another's request
            raise ImproperlyConfigured("This pool does not work with USE_FAST_LOCALS.")
        _task_stack.__ident_func__ = whose
        be_brief()
        self.tasks = self.app.tasks  # Celery looks it up anew each time
        for task in self.tasks.values():
            adapt(task)
        self.loop = process_loop()
        self.permits = Permits(self.limit)
        self.slots: Slots[Job] = Slots(self.limit, SYNC_THREADS, self.ahead)
        self.leaving: set[asyncio.Task[Any]] = set()  # cancelled, and not ended yet
        self._threads = ThreadPoolExecutor(SYNC_THREADS, "agents-task")
        self._ended: deque[tuple[Job, Callable[..., Any] | None, Any]] = deque()
        self._reaping = False
        self._hub: Any = None
        self._stopping = False
        self._change = threading.Event()

    def register_with_event_loop(self, loop: Any) -> None:
        """Keep the event loop of the worker's main thread."""
        self._hub = loop

    @property
    def num_processes(self) -> int:
        """Slots, by Celery's name for them."""
        return self.limit

    @property
    def ahead(self) -> int:
        """Steps that are taken beyond the slots, to be asked as soon as a call ends."""
        return self.limit // AHEAD

    @property
    def room(self) -> int:
        """Steps that it would begin at once."""
        return self.limit + self.ahead - len(self.slots.running) - self.slots.waiting

    def grow(self, n: int) -> None:
        """Add ``n`` slots."""
        self._resize(self.limit + n)
        self._begin()

    def shrink(self, n: int) -> None:
        """Take ``n`` slots away; one stays."""
        self._resize(max(self.limit - n, 1))

    def _resize(self, limit: int) -> None:
        self.loop.post(self.permits.change, limit - self.limit)
        self.limit = self.slots.limit = limit

    # -- running

    def on_apply(self, target: Any, args: Any = None, kwargs: Any = None, **options: Any) -> Job:
        """Queue a job, which begins once it has a slot."""
        job = Job(self, target, args or (), kwargs or {}, options)
        self.slots.add(job)
        self._begin()
        return job

    def _begin(self) -> None:
        while not self._stopping and (job := self.slots.next()) is not None:
            if job.was_revoked():
                self.slots.free(job)
                continue
            job.accept()
            if job.on_loop:
                (self.loop.post_bulk if job.bulk else self.loop.post)(job.begin)
            else:
                self._threads.submit(job.run)

    def ended(self, job: Job, call: Callable[..., Any] | None, value: Any) -> None:
        """Note that a job is over; tell Celery of it in the worker's main thread."""
        self._ended.append((job, call, value))
        if self._stopping:
            self._change.set()
        elif self._hub is None or _in_signal_handler():
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
        while self._ended:
            try:
                job, call, value = self._ended.popleft()
            except IndexError:  # another thread tells it
                break
            self.slots.free(job)
            if call is not None:
                try:
                    call(value)
                except Exception as error:  # noqa: BLE001 - it is noted
                    text = "Celery could not be told how %s ended"
                    note(log, "pool_end", text, job, error=error, trace=True)
        self._begin()

    # -- the end

    def flush(self) -> None:
        """Forget the jobs that have not begun: the connection was lost, and they are sent again."""
        self.slots.clear()

    def on_close(self) -> None:
        """Forget the jobs that have not begun."""
        self.slots.clear()  # not begun: their messages go back when the connection is closed

    def on_stop(self) -> None:
        """Let what runs end (warm shutdown)."""
        self._hub = None  # it does not run any more
        self._stopping = True
        self._reap()
        while self.slots.running:
            self._change.wait(1.0)
            self._change.clear()
            self._reap()
        self._let_leave()
        self._threads.shutdown(wait=False)

    def on_terminate(self) -> None:
        """End what runs on the loop, where it waits (cold shutdown)."""
        self._hub = None
        self._stopping = True
        for job in list(self.slots.running):
            job.terminate()
        self._let_leave()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _let_leave(self) -> None:
        async def all_left() -> None:
            if self.leaving:
                await asyncio.wait(set(self.leaving), timeout=CLEANUP_S)

        try:
            self.loop.submit(all_left()).result(2 * CLEANUP_S)
        except TimeoutError:
            log.warning("The loop is blocked; what runs on it is given up")

    def terminate_job(self, pid: int, signal: Any = None) -> None:  # noqa: ARG002 - Celery's
        """Celery goes on to say REVOKED, and to terminate the job itself; see :class:`Job`."""
        told: Callable[[], Job | None] = getattr(pid, "job", lambda: None)
        if (job := told()) is not None and job.in_thread and not _in_signal_handler():
            raise NotImplementedError(f"{job} runs in a thread, which cannot be stopped")

    def _get_info(self) -> dict[str, Any]:
        info: dict[str, Any] = super()._get_info()
        return {
            **info,
            "on-loop": len(self.slots.running) - self.slots.in_threads,
            "in-threads": self.slots.in_threads,
            "waiting": self.slots.waiting,
        }


def _in_signal_handler() -> bool:
    """Return whether Celery's main thread is in one: a cold shutdown waits and cancels there."""
    return bool(celery_log._in_sighandler)  # noqa: SLF001 - the flag that in_sighandler() sets


class _Pid(int):
    """The worker's process id, which also tells :meth:`CoroutinePool.terminate_job` of whom.

    Celery's request keeps it, and the job refers to that request: only a weak reference back
    leaves no garbage for the collector, a tenth of a worker's time at full load.
    """

    job: weakref.ref[Job]


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
        task = pool.tasks[args[0]] if args else None
        self.permits = pool.permits
        self.on_loop: bool = getattr(task, "on_loop", False)
        self.has_permits: bool = getattr(task, "has_permits", False)
        self.bulk = len(args) > _HEADERS and bool(args[_HEADERS].get(names.BULK))
        self.in_thread = False  # at this moment
        self._keeps_time: bool = getattr(task, "keeps_time", False)
        self._coroutine: Interruptible | None = None
        self._soft_error: SoftTimeLimitExceeded | None = None
        self._fiber: Fiber | None = None
        self._timers: list[asyncio.TimerHandle] = []
        self._over = False

    def __str__(self) -> str:
        return str(self._options.get("correlation_id"))

    def was_revoked(self) -> bool:
        """Return whether it was revoked, or expired, while it waited for its slot.

        Celery's request says so, and then has it acknowledged. In each pool it is asked before a
        task is handed over; with prefork that is when there is a slot, so it is asked here too.
        """
        request = getattr(self._options.get("callback"), "__self__", None)
        return isinstance(request, Request) and bool(request.revoked())

    @property
    def may_go_on(self) -> bool:
        """True when a slot is free that nobody waits for: this job takes nothing from others."""
        return self.permits.idle and len(self._pool.slots.running) < self._pool.limit

    def told(self, call: Callable[..., Any], *args: Any) -> None:
        """Tell Celery something of what it does, in the worker's main thread."""
        self._pool.told(call, *args)

    def accept(self) -> None:
        """Tell Celery that the job begins."""
        if (accepted := self._options.get("accept_callback")) is not None:
            pid = _Pid(os.getpid())
            pid.job = weakref.ref(self)
            accepted(pid, time.monotonic())

    def begin(self) -> None:
        """Run in a fiber; on the loop's thread."""
        if self._over:  # terminated before it began
            self._pool.ended(self, None, None)  # it has had a slot since
            return
        if not self._keeps_time:  # a step's deadline is its own business
            self._limit("soft_timeout", self._soft_limit)
            self._limit("timeout", self._hard_limit)
        self._fiber = Fiber(self._pool.loop, self.run)
        self._fiber.job, self._fiber.bulk = self, self.bulk
        self._fiber.begin()

    def _limit(self, kind: str, call: Callable[[float], None]) -> None:
        """The task's own limit, or the worker's (``--time-limit``, ``task_time_limit``)."""
        if limit := self._options.get(kind) or self._pool.options.get(kind):
            self._timers.append(self._pool.loop.loop.call_later(limit, call, limit))

    def run(self) -> None:
        """Celery's tracer, then what came out of it for Celery's request."""
        if self._over:
            self._pool.ended(self, None, None)
            return
        self.in_thread = not self.on_loop
        call = self._options.get("callback")
        try:
            value = self._target(*self._args, **self._kwargs)
        except GreenletExit:
            return
        except BaseException:  # noqa: BLE001 - to Celery's request these are lost workers
            call, value = self._options.get("error_callback"), ExceptionInfo()
        finally:
            self._fiber = self._coroutine = None  # which refer to this job
        self._end(call, value)

    def waits_for(self, coroutine: Interruptible) -> None:
        """Its coroutine, which can be stopped from now on."""
        self._coroutine = coroutine
        if self._soft_error is not None:
            coroutine.interrupt(self._soft_error)

    def terminate(self, signal: Any = None) -> None:  # noqa: ARG002 - Celery's signature
        """Stop it, whatever it does; nothing more is told of it. From any thread."""
        if self.in_thread:
            log.warning("%s runs in a thread, which cannot be stopped", self)
        elif self.on_loop:
            self._pool.loop.post(self._kill)
        else:
            self._end(None, None)

    def _kill(self) -> None:
        self._end(None, None)
        if self._coroutine is not None:
            self._coroutine.stop(self._pool.leaving)
        if self._fiber is not None:
            self._fiber.kill()

    def _soft_limit(self, limit: float) -> None:
        self._pool.told(self._options.get("timeout_callback"), True, limit)
        self._soft_error = SoftTimeLimitExceeded()
        if self._coroutine is not None:
            self._coroutine.interrupt(self._soft_error)

    def _hard_limit(self, limit: float) -> None:
        self._pool.told(self._options.get("timeout_callback"), False, limit)
        self._kill()

    def _end(self, call: Callable[..., Any] | None, value: Any) -> None:
        if not self._over:
            self._over = True
            self.in_thread = False
            for timer in self._timers:
                timer.cancel()
            self._pool.ended(self, call, value)
