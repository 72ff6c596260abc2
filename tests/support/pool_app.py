"""A plain Celery app for the tests of the pool: nothing of it is ours but the pool.

``celery -A tests.support.pool_app worker``; broker and results are at ``REDIS_URL``. What its tasks
and signals see is told by ``NOTES``, a list in Redis, where a state would not tell it.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
import os
import threading
import time
from typing import Any

from celery import Celery, Task, current_task, signals
from celery.exceptions import Ignore, Reject, SoftTimeLimitExceeded
from redis import Redis

URL = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")
NOTES = "pool-notes"

app = Celery("pool-app", broker=URL, backend=URL, set_as_current=False)
app.conf.update(
    task_default_queue="pool",
    worker_pool=os.environ.get("POOL", "app.pool:CoroutinePool"),
    worker_prefetch_multiplier=int(os.environ.get("PREFETCH", "1")),
    worker_send_task_events=True,
    worker_hijack_root_logger=False,
    worker_soft_shutdown_timeout=float(os.environ.get("SOFT_SHUTDOWN", "0")),
    task_time_limit=float(os.environ.get("TIME_LIMIT", "0")) or None,
    broker_connection_retry_on_startup=True,
    broker_transport_options={"visibility_timeout": 3600},
)

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


def note(key: str, *what: Any) -> None:
    """Tell the test; a round trip that blocks, as tests may."""
    with Redis.from_url(URL) as client:
        client.rpush(f"{NOTES}:{key}", json.dumps(what))


# -- what a test calls


@app.task
async def add(x: int, y: int) -> int:
    await asyncio.sleep(0)
    return x + y


@app.task(track_started=True)
async def nap_tracked(seconds: float) -> None:
    await asyncio.sleep(seconds)


@app.task
def add_sync(x: int, y: int) -> int:
    return x + y


@app.task
async def total(values: list[int]) -> int:
    return sum(values)


@app.task
async def nap(seconds: float, key: str = "") -> str:
    """Waits on the loop; says how it ended."""
    if key:
        note(key, "begin")
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        note(key, "cancelled")
        await asyncio.sleep(0.01)  # cleaning up may wait
        note(key, "cleaned up")
        raise
    if key:
        note(key, "end")
    return threading.current_thread().name


@app.task
def nap_sync(seconds: float, key: str = "") -> str:
    """Holds a thread."""
    if key:
        note(key, "begin")
    time.sleep(seconds)
    if key:
        note(key, "end")
    return threading.current_thread().name


nap_late = app.task(name="tests.nap_late", acks_late=True)(nap.run)
nap_sync_late = app.task(name="tests.nap_sync_late", acks_late=True)(nap_sync.run)


@app.task
async def fails(text: str = "so be it") -> None:
    await asyncio.sleep(0)
    raise ValueError(text)


@app.task
def fails_sync(text: str = "so be it") -> None:
    raise ValueError(text)


@app.task(bind=True, max_retries=3)
async def retries(self: Task, times: int) -> int:
    await asyncio.sleep(0)
    if self.request.retries < times:
        raise self.retry(countdown=0.01)
    return self.request.retries


@app.task(
    bind=True, autoretry_for=(ValueError,), retry_kwargs={"countdown": 0.01, "max_retries": 2}
)
async def retries_itself(self: Task, times: int) -> int:
    await asyncio.sleep(0)
    if self.request.retries < times:
        raise ValueError("again")
    return self.request.retries


@app.task(bind=True)
async def replaces(self: Task, x: int) -> Any:
    raise self.replace(add.s(x, 1))


@app.task(bind=True)
async def who(self: Task, pauses: int) -> list[Any]:
    """What a task knows of itself, asked again and again while others run."""
    seen = set()
    variable.set(str(self.request.id))
    for n in range(pauses):
        await asyncio.sleep(0.001 * (n % 3))
        inside = await asyncio.create_task(_whom())
        in_thread = await asyncio.to_thread(lambda: current_task.request.id)
        seen.add((self.request.id, current_task.request.id, variable.get(), inside, in_thread))
    return [list(s) for s in seen]


async def _whom() -> str:
    await asyncio.sleep(0)
    return str(current_task.request.id)


@app.task
async def variable_now() -> str:
    before = variable.get()
    variable.set("mine")
    await asyncio.sleep(0.01)
    return before


@app.task(soft_time_limit=0.2)
async def cleans_up(key: str) -> str:
    try:
        await asyncio.sleep(60)
    except SoftTimeLimitExceeded:
        async with asyncio.timeout(5):  # what is left of it works as always
            await asyncio.sleep(0.01)
        note(key, "cleaned up")
        return "partial"
    return "whole"


@app.task(time_limit=0.3)
async def limited(key: str) -> None:
    await nap.run(60, key)


@app.task
async def swallows(key: str) -> str:
    """Does not let itself be cancelled the first time."""
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        note(key, "swallowed")
    await asyncio.sleep(0.1)
    return "ran on"


@app.task
async def exits(kind: str) -> None:
    await asyncio.sleep(0)
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
    await asyncio.sleep(0.3)
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
    return int(await add(2, 3)) + add_sync(1, 1)


@app.task
async def lag(seconds: float) -> float:
    """The longest that the loop was held up meanwhile."""
    until, worst = time.monotonic() + seconds, 0.0
    while (now := time.monotonic()) < until:
        await asyncio.sleep(0.001)
        worst = max(worst, time.monotonic() - now - 0.001)
    return worst


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
        await asyncio.sleep(0)
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
            note(of, name)

    return told


@signals.worker_init.connect
def _listen(**_: Any) -> None:
    for name in ("prerun", "postrun", "success", "failure", "retry", "revoked"):
        getattr(signals, f"task_{name}").connect(_signal(name), weak=False)
