"""A plain Celery app for the tests of the pool: nothing of it is ours but the pool.

``celery -A tests.support.pool_app worker``; broker and results are at ``REDIS_URL``. What its tasks
and signals see is told by ``NOTES``, a list in Redis, where a state would not tell it.

``POOL`` names another pool, to compare with. Bare Celery's pools run no coroutine functions: there
the tasks are the plain functions that one would write for them, with the same text.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import json
import os
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import nullcontext
from functools import wraps
from typing import Any

from celery import Celery, Task, current_task, signals
from celery.exceptions import Ignore, Reject, SoftTimeLimitExceeded
from redis import Redis

URL = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")
NOTES = "pool-notes"
POOL = os.environ.get("POOL", "celery_agents.service:CoroutinePool")
OURS = POOL == "celery_agents.service:CoroutinePool"
#: Longer than any test, of what it stops; where that does not work it soon ends by itself.
LONG_S = 60 if OURS else 6

app = Celery("pool-app", broker=URL, backend=URL, set_as_current=False)
app.conf.update(
    task_default_queue="pool",
    worker_pool=POOL,
    worker_prefetch_multiplier=int(os.environ.get("PREFETCH", "1")),
    worker_send_task_events=True,
    worker_hijack_root_logger=False,
    worker_soft_shutdown_timeout=float(os.environ.get("SOFT_SHUTDOWN", "0")),
    broker_connection_retry_on_startup=True,
    broker_transport_options={"visibility_timeout": 3600},
)

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


def note(key: str, *what: Any) -> None:
    """Tell the test; a round trip that blocks, as tests may."""
    with Redis.from_url(URL) as client:
        client.rpush(f"{NOTES}:{key}", json.dumps(what))


async def pause(seconds: float) -> None:
    """Wait as the pool's tasks do: on the loop, or holding a process or thread."""
    if OURS:
        await asyncio.sleep(seconds)
    else:
        time.sleep(seconds)  # noqa: ASYNC251 - no loop runs there


# -- what a test calls


@app.task
async def add(x: int, y: int) -> int:
    await pause(0)
    return x + y


@app.task(track_started=True)
async def nap_tracked(seconds: float) -> None:
    await pause(seconds)


@app.task
def add_sync(x: int, y: int) -> int:
    return x + y


@app.task
async def total(values: list[int]) -> int:
    return sum(values)


async def napping(seconds: float, key: str = "") -> str:
    """Waits on the loop; says how it ended."""
    if key:
        note(key, "begin")
    try:
        await pause(seconds)
    except asyncio.CancelledError:
        note(key, "cancelled")
        await pause(0.01)  # cleaning up may wait
        note(key, "cleaned up")
        raise
    if key:
        note(key, "end")
    return threading.current_thread().name


@app.task
async def nap(seconds: float, key: str = "") -> str:
    return await napping(seconds, key)


@app.task
def nap_sync(seconds: float, key: str = "") -> str:
    """Holds a thread."""
    if key:
        note(key, "begin")
    time.sleep(seconds)
    if key:
        note(key, "end")
    return threading.current_thread().name


nap_late = app.task(name="tests.nap_late", acks_late=True)(napping)
nap_sync_late = app.task(name="tests.nap_sync_late", acks_late=True)(nap_sync.run)


@app.task
async def fails(text: str = "so be it") -> None:
    await pause(0)
    raise ValueError(text)


@app.task
def fails_sync(text: str = "so be it") -> None:
    raise ValueError(text)


@app.task(bind=True, max_retries=3)
async def retries(self: Task, times: int) -> int:
    await pause(0)
    if self.request.retries < times:
        raise self.retry(countdown=0.01)
    return int(self.request.retries)


@app.task(
    bind=True, autoretry_for=(ValueError,), retry_kwargs={"countdown": 0.01, "max_retries": 2}
)
async def retries_itself(self: Task, times: int) -> int:
    await pause(0)
    if self.request.retries < times:
        raise ValueError("again")
    return int(self.request.retries)


@app.task(bind=True)
async def replaces(self: Task, x: int) -> Any:
    raise self.replace(add.s(x, 1))


@app.task(bind=True)
async def who(self: Task, pauses: int) -> list[Any]:
    """Return what a task knows of itself, asked again and again while others run."""
    seen = set()
    variable.set(str(self.request.id))
    for n in range(pauses):
        await pause(0.001 * (n % 3))
        seen.add((self.request.id, current_task.request.id, variable.get(), *await _beside()))
    return [list(s) for s in seen]


async def _beside() -> list[str]:
    """Return the ids seen in what a coroutine starts: an asyncio task, and a thread."""
    if not OURS:
        return []
    in_thread = await asyncio.to_thread(lambda: current_task.request.id)
    return [await asyncio.create_task(_whom()), in_thread]


async def _whom() -> str:
    await pause(0)
    return str(current_task.request.id)


@app.task
async def variable_now() -> str:
    before = variable.get()
    variable.set("mine")
    await pause(0.01)
    return before


@app.task(soft_time_limit=0.2)
async def cleans_up(key: str) -> str:
    try:
        await pause(LONG_S)
    except SoftTimeLimitExceeded:
        async with asyncio.timeout(5) if OURS else nullcontext():  # works as always
            await pause(0.01)
        note(key, "cleaned up")
        return "partial"
    return "whole"


@app.task(time_limit=0.3)
async def limited(key: str) -> None:
    await napping(LONG_S, key)


@app.task
async def swallows(key: str) -> str:
    """Does not let itself be cancelled the first time."""
    try:
        await pause(LONG_S)
    except asyncio.CancelledError:
        note(key, "swallowed")
    await pause(0.1)
    return "ran on"


@app.task
async def exits(kind: str) -> None:
    await pause(0)
    raise {"system": SystemExit(3), "keyboard": KeyboardInterrupt(), "memory": MemoryError()}[kind]


@app.task
def exits_sync(kind: str) -> None:
    raise {"system": SystemExit(3), "keyboard": KeyboardInterrupt(), "memory": MemoryError()}[kind]


@app.task
async def unserialisable() -> object:
    return object()


@app.task(ignore_result=True)
async def ignored(key: str) -> int:
    note(key, "ran")
    return 1


@app.task
async def ignores() -> None:
    raise Ignore


@app.task
async def rejects() -> None:
    raise Reject("no", requeue=False)


@app.task(bind=True)
async def reports(self: Task) -> str:
    self.update_state(state="PROGRESS", meta={"done": 1})
    await pause(0.3)
    return "reported"


@app.task
async def waits_for_another() -> Any:
    return add.delay(1, 1).get(timeout=5)


@app.task(bind=True)
async def sends(self: Task, by_thread: bool) -> list[str | None]:
    """Publishes from its coroutine; ids of what it sent and of itself."""
    if by_thread:
        result = await asyncio.to_thread(child.delay)
    else:
        result = child.delay()
    return [result.id, self.request.id]


@app.task(bind=True)
async def child(self: Task) -> list[str | None]:
    return [self.request.parent_id, self.request.root_id]


@app.task
async def calls_another() -> int:
    """As one calls a coroutine function."""
    return int(await add(2, 3) + add_sync(1, 1))


@app.task(rate_limit="5/s")
async def limited_rate() -> float:
    return time.time()


@app.task
async def error_of(request: Any, exc: Any, traceback: Any) -> None:
    note(f"error:{request.id}", repr(exc))


@app.task
async def noted(value: Any, key: str) -> Any:
    note(key, value)
    return value


class Whole(Task):
    """A class of one's own, with Celery's handlers."""

    name = "tests.whole"

    async def run(self, key: str, fail: bool = False) -> str:
        await pause(0)
        if fail:
            raise ValueError(key)
        return key

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        note(args[0], "before_start")

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        note(args[0], "on_success")

    def on_failure(self, exc: Exception, task_id: str, args: Any, *rest: Any) -> None:
        note(args[0], "on_failure")

    def after_return(self, status: str, retval: Any, task_id: str, args: Any, *rest: Any) -> None:
        note(args[0], f"after_return {status}")


whole = app.register_task(Whole())


# -- signals, in workers, for tasks whose id says so


def _signal(name: str) -> Any:
    def told(
        sender: Any = None, task_id: str | None = None, request: Any = None, **more: Any
    ) -> None:
        of = task_id or getattr(request, "id", None) or getattr(current_task.request, "id", None)
        if of and of.startswith("signals"):
            # The next attempt may begin before this one's last signal: each has notes of its own.
            note(f"{of}/{current_task.request.retries if current_task else 0}", name)

    return told


@signals.worker_init.connect
def _listen(**_: Any) -> None:
    for name in ("prerun", "postrun", "success", "failure", "retry", "revoked"):
        getattr(signals, f"task_{name}").connect(_signal(name), weak=False)


# -- for the pools that do not run coroutine functions


def _plain(function: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Any]:
    """The same function without ``async``: nothing in it waits on a loop (:func:`pause`)."""

    @wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            function(*args, **kwargs).send(None)
        except StopIteration as end:
            return end.value
        raise RuntimeError(f"{function} waits on a loop")

    return run


if not OURS:
    for _task in app.tasks.values():
        _name = "_orig_run" if hasattr(_task, "_orig_run") else "run"  # autoretry_for wraps it
        if inspect.iscoroutinefunction(getattr(_task, _name)):
            setattr(_task, _name, _plain(getattr(_task, _name)))
