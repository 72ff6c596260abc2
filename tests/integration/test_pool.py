"""What Celery's users rely on, in the pool of coroutines, for a plain Celery app and for steps.

``POOL=threads`` or ``POOL=prefork`` in the environment runs the same in a pool of bare Celery, to
compare with: what such a pool does not do is expected to fail (``lacks``), and what only ours is
asked for is left out (``ours_only``), each with its reason. docs/pool.md has the table.
"""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from signal import SIGQUIT, SIGTERM
from typing import Any

import psutil
import pytest
import redis
from billiard.exceptions import WorkerLostError
from celery import chain, chord, group
from celery.exceptions import TaskRevokedError, TimeLimitExceeded
from celery.result import AsyncResult, allow_join_result

from app.pool.pool import SYNC_THREADS
from celery_agents import RetryPolicy
from celery_agents.errors import StepCancelledError
from tests.integration.harness import FAST, SOON_S, Stack, eventually, lines
from tests.support import pool_app as tasks
from tests.support.drawn import costly
from tests.support.redis_server import RedisServer
from tests.support.workers import WorkerProcess, unique_name, worker_command

pytestmark = pytest.mark.databases("none")

QUIET = ["--without-mingle", "--without-gossip", "--without-heartbeat"]
OURS = tasks.OURS
POOL = "coroutines" if OURS else tasks.POOL
#: Tasks at once in the worker of most tests.
SLOTS = {"coroutines": 1000, "threads": 64, "prefork": 4}[POOL]
LONG_S = tasks.LONG_S
#: Tasks that wait at the same time.
MANY = costly(400, part=3)


def ours_only(reason: str) -> pytest.MarkDecorator:
    """What other pools are not asked for, and why not."""
    return pytest.mark.skipif(not OURS, reason=reason)


def lacks(pool: str, reason: str) -> pytest.MarkDecorator:
    """What a pool was seen not to do; if it does one day, the test says so."""
    return pytest.mark.xfail(pool == POOL, reason=reason, strict=True)


NO_STOP = lacks("threads", "a thread cannot be stopped")
NO_EXIT = lacks("threads", "it has no result, and is active for ever")
NO_SIZE = lacks("threads", "it cannot grow: an error, and with --autoscale the worker's end")
ALL_WAITED_FOR = lacks("threads", "an error: all that runs is waited for")


class Pool:
    """Workers of the plain app, each with a queue of its own, and what its tasks told."""

    def __init__(self, url: str, directory: Path) -> None:
        self.url = url
        self.directory = directory
        self.redis = redis.Redis.from_url(url, decode_responses=True)
        self.workers: dict[str, WorkerProcess] = {}

    def start(self, queue: str, *args: str, **env: str) -> None:
        name = unique_name()
        command = worker_command(name, "tests.support.pool_app", ["-Q", queue, *QUIET, *args])
        worker = WorkerProcess(
            name, command, env={"REDIS_URL": self.url, **env}, directory=self.directory
        )
        worker.start()
        self.workers[queue] = worker

    def worker(self, queue: str) -> WorkerProcess:
        self.workers[queue].wait_ready()
        return self.workers[queue]

    def notes(self, key: str) -> list[Any]:
        """What was told of a key; of one thing that thing."""
        told = [json.loads(n) for n in self.redis.lrange(f"{tasks.NOTES}:{key}", 0, -1)]
        return [t[0] if len(t) == 1 else t for t in told]

    def noted(self, key: str, *what: Any) -> None:
        eventually(lambda: set(what) <= set(self.notes(key)), f"{key}: {what}")

    def ask(self, queue: str, question: str, *args: Any) -> Any:
        """An inspection's answer of a worker."""
        name = self.worker(queue).name
        inspect = tasks.app.control.inspect([name], timeout=SOON_S, limit=1)
        return (getattr(inspect, question)(*args) or {})[name]

    def slots(self, queue: str) -> dict[str, Any]:
        return dict(self.ask(queue, "stats")["pool"])

    def busy(self, queue: str) -> int:
        """Slots in use; only our pool tells, of the others it is what is active."""
        return int(self.slots(queue)["on-loop"]) if OURS else len(self.ask(queue, "active"))

    def size(self, queue: str) -> int:
        """Tasks at once, as the pool has grown or shrunk."""
        slots = self.slots(queue)
        return len(slots.get("processes", ())) or int(slots["max-concurrency"])

    def pids(self, queue: str) -> list[int]:
        """Where the worker's tasks run: in its children, or in itself."""
        return self.slots(queue).get("processes") or [self.worker(queue).pid]


@pytest.fixture(scope="module")
def pool(shared_broker: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    """All workers of the module start at once: the machine is the limit."""
    made = Pool(shared_broker.fresh_url(), tmp_path_factory.mktemp("pool"))
    tasks.app.conf.update(broker_url=made.url, result_backend=made.url)
    made.start("pool", "--concurrency", str(SLOTS))
    made.start("ends", "--concurrency", "4")
    made.start("small", "--concurrency", "2", PREFETCH="10")
    made.start("scaled", "--autoscale", "20,2", AUTOSCALE_KEEPALIVE="1")
    made.start("warm", "--concurrency", "2", PREFETCH="4")
    made.start("cold", "--concurrency", "4")
    made.start("both", "--concurrency", "4")
    made.start("soft", "--concurrency", "4", SOFT_SHUTDOWN="1.5")
    try:
        yield made
    finally:
        for worker in made.workers.values():
            worker.kill()
        made.redis.close()


@pytest.fixture(autouse=True)
def up(pool: Pool) -> None:
    pool.worker("pool")


@pytest.fixture
def key() -> str:
    """A name for notes."""
    return unique_name()


def got(result: AsyncResult) -> Any:
    return result.get(timeout=SOON_S)


def refused(
    result: AsyncResult, error: type[BaseException], match: str | None = None
) -> BaseException:
    with pytest.raises(error, match=match) as caught:
        got(result)
    return caught.value


class TestResults:
    def test_of_a_coroutine(self) -> None:
        result = tasks.add.delay(1, 2)
        assert got(result) == 3
        assert result.state == "SUCCESS"

    def test_of_a_function(self) -> None:
        assert got(tasks.add_sync.delay(1, 2)) == 3

    def test_of_a_class(self, pool: Pool, key: str) -> None:
        assert got(tasks.whole.delay(key)) == key
        pool.noted(key, "before_start", "on_success", "after_return SUCCESS")

    def test_error_with_its_traceback(self) -> None:
        result = tasks.fails.delay("no")
        refused(result, ValueError, "no")
        assert result.state == "FAILURE"
        assert "raise ValueError(text)" in result.traceback

    def test_handlers_of_a_failure(self, pool: Pool, key: str) -> None:
        refused(tasks.whole.delay(key, fail=True), ValueError)
        pool.noted(key, "before_start", "on_failure", "after_return FAILURE")

    def test_states_on_the_way(self, pool: Pool) -> None:
        tracked, reports = tasks.nap_tracked.delay(0.5), tasks.reports.delay()
        eventually(lambda: tracked.state == "STARTED")
        assert tracked.info["hostname"] == pool.worker("pool").name
        assert tracked.info["pid"] in pool.pids("pool")
        eventually(lambda: reports.state == "PROGRESS")
        assert reports.info == {"done": 1}
        got(tracked)
        assert got(reports) == "reported"

    def test_not_wanted(self, pool: Pool, key: str) -> None:
        result = tasks.ignored.delay(key)
        pool.noted(key, "ran")
        got(tasks.add.delay(0, 0))
        assert result.state == "PENDING"

    def test_ignore_and_reject(self) -> None:
        ignored, rejected = tasks.ignores.delay(), tasks.rejects.delay()
        refused(rejected, Exception, "no")
        assert ignored.state == "PENDING"
        assert got(tasks.add.delay(1, 1)) == 2

    def test_that_cannot_be_written(self) -> None:
        refused(tasks.unserialisable.delay(), Exception, "not JSON serializable")

    @pytest.mark.parametrize("task", [tasks.exits, tasks.exits_sync], ids=["loop", "thread"])
    @pytest.mark.parametrize(
        ("kind", "error"),
        [
            pytest.param("system", WorkerLostError, marks=NO_EXIT),
            pytest.param("keyboard", WorkerLostError, marks=NO_EXIT),
            pytest.param("memory", MemoryError, marks=lacks("prefork", "it ends the worker")),
        ],
    )
    def test_what_ends_programs(
        self, pool: Pool, key: str, task: Any, kind: str, error: type[Exception]
    ) -> None:
        """As a prefork child that ends with it: a failure, and the others go on."""
        running = tasks.nap.apply_async((0.5, key), queue="ends")
        pool.noted(key, "begin")
        refused(task.apply_async((kind,), queue="ends"), error)
        pool.noted(key, "end")
        assert got(tasks.add.apply_async((1, 1), queue="ends")) == 2
        got(running)

    def test_waiting_for_another_is_refused(self) -> None:
        refused(tasks.waits_for_another.delay(), RuntimeError, "Never call result.get")

    @ours_only("of coroutine functions")
    def test_calling_another_as_a_function(self) -> None:
        assert got(tasks.calls_another.delay()) == 7


class TestCanvas:
    def test_link(self, pool: Pool, key: str) -> None:
        got(tasks.add.apply_async((1, 2), link=tasks.noted.s(key)))
        pool.noted(key, 3)

    @pytest.mark.parametrize("task", [tasks.fails, tasks.fails_sync], ids=["loop", "thread"])
    def test_link_error(self, pool: Pool, task: Any) -> None:
        result = task.apply_async(("no",), link_error=tasks.error_of.s())
        refused(result, ValueError)
        pool.noted(f"error:{result.id}", "ValueError('no')")

    def test_chain(self) -> None:
        assert got(chain(tasks.add.s(1, 2), tasks.add_sync.s(3), tasks.add.s(4))()) == 10

    def test_group(self) -> None:
        result = group(tasks.add.s(n, n) for n in range(20)).apply_async()
        assert result.get(timeout=SOON_S) == [2 * n for n in range(20)]

    def test_chord(self) -> None:
        header = [tasks.add.s(n, n) for n in range(10)] + [tasks.add_sync.s(n, n) for n in range(5)]
        assert got(chord(header)(tasks.total.s())) == 110

    def test_chord_with_a_failure(self) -> None:
        result = chord([tasks.add.s(1, 1), tasks.fails.s()])(tasks.total.s())
        refused(result, Exception, "so be it")

    def test_replace(self) -> None:
        assert got(tasks.replaces.delay(2)) == 3

    @pytest.mark.parametrize(
        "by_thread", [pytest.param(True, marks=ours_only("of coroutine functions")), False]
    )
    def test_a_task_sends_others(self, by_thread: bool) -> None:
        sent, me = got(tasks.sends.delay(by_thread))
        assert got(tasks.app.AsyncResult(sent)) == [me, me]


class TestRetries:
    def test_asked_for(self) -> None:
        assert got(tasks.retries.delay(2)) == 2

    def test_by_themselves(self) -> None:
        assert got(tasks.retries_itself.delay(2)) == 2

    def test_at_the_most(self) -> None:
        refused(tasks.retries_itself.delay(5), ValueError, "again")


class TestSignals:
    @pytest.mark.parametrize(
        ("send", "told"),
        [
            (lambda i: tasks.add.apply_async((1, 1), task_id=i), ["success"]),
            (lambda i: tasks.fails.apply_async(task_id=i), ["failure"]),
            (lambda i: tasks.retries.apply_async((1,), task_id=i), ["retry", "success"]),
        ],
        ids=["success", "failure", "retry"],
    )
    def test_in_their_order(self, pool: Pool, key: str, send: Any, told: list[str]) -> None:
        with suppress(ValueError):
            got(send(f"signals-{key}"))
        for attempt, name in enumerate(told):
            wanted, of = ["prerun", name, "postrun"], f"signals-{key}/{attempt}"
            eventually(lambda w=wanted, of=of: pool.notes(of) == w, f"{of}: {wanted}")  # type: ignore[misc]

    @NO_STOP
    def test_revoked(self, pool: Pool, key: str) -> None:
        result = tasks.nap.apply_async((LONG_S, key), task_id=f"signals-{key}")
        pool.noted(key, "begin")
        result.revoke(terminate=True)
        pool.noted(f"signals-{key}/0", "prerun", "revoked", "postrun")


class Watcher:
    """The events of the tasks, as Flower gets them."""

    def __init__(self) -> None:
        self.over = False
        self.seen: dict[str, list[str]] = {}

    def note(self, event: dict[str, Any]) -> None:
        self.seen.setdefault(event.get("uuid", ""), []).append(event["type"])

    def saw(self, wanted: dict[str, list[str]]) -> None:
        """A retry may be received before its first run is told to have ended: in any order."""
        eventually(
            lambda: all(sorted(self.seen.get(i, [])) == sorted(w) for i, w in wanted.items()),
            str(self.seen),
        )

    def drain(self, connection: Any) -> None:
        while not self.over:
            with suppress(TimeoutError):
                connection.drain_events(timeout=0.2)


@pytest.fixture
def watcher(up: None) -> Iterator[Watcher]:
    made = Watcher()
    with tasks.app.connection_for_read() as connection:
        receiver = tasks.app.events.Receiver(connection, {"*": made.note})
        with receiver.Consumer() as (live, _, _):  # bound from here on: nothing is missed
            draining = threading.Thread(target=made.drain, args=(live,), daemon=True)
            draining.start()
            eventually(lambda: got(tasks.add.delay(0, 0)) == 0 and made.seen)  # it hears
            yield made
            made.over = True
            draining.join(5)


BEGIN = ["task-received", "task-started"]


class TestEvents:
    def test_for_those_who_watch(self, watcher: Watcher) -> None:
        good, bad, again = tasks.add.delay(1, 1), tasks.fails.delay(), tasks.retries.delay(1)
        got(good), got(again), refused(bad, ValueError)
        watcher.saw({
            good.id: [*BEGIN, "task-succeeded"],
            bad.id: [*BEGIN, "task-failed"],
            again.id: [*BEGIN, "task-retried", *BEGIN, "task-succeeded"],
        })  # fmt: skip

    @NO_STOP
    def test_of_one_that_is_stopped(self, pool: Pool, watcher: Watcher, key: str) -> None:
        stopped = tasks.nap.delay(LONG_S, key)
        pool.noted(key, "begin")
        stopped.revoke(terminate=True)
        refused(stopped, TaskRevokedError)
        watcher.saw({stopped.id: [*BEGIN, "task-revoked"]})


class TestInspecting:
    def test_active_and_asked_for(self, pool: Pool, key: str) -> None:
        result = tasks.nap.delay(LONG_S, key)
        pool.noted(key, "begin")
        (active,) = (a for a in pool.ask("pool", "active") if a["id"] == result.id)
        assert active["worker_pid"] in pool.pids("pool")
        assert pool.ask("pool", "query_task", [result.id])[result.id][0] == "active"
        if OURS:
            assert pool.busy("pool") == 1
        result.revoke(terminate=True)  # else it ends by itself
        with suppress(TaskRevokedError):
            got(result)

    def test_scheduled(self, pool: Pool) -> None:
        result = tasks.add.apply_async((1, 1), countdown=60)
        (scheduled,) = eventually(lambda: pool.ask("pool", "scheduled"))
        assert scheduled["request"]["id"] == result.id
        result.revoke(terminate=True)  # at its time
        result.forget()

    def test_reserved_wait_for_a_slot(self, pool: Pool, key: str) -> None:
        running = [tasks.nap.apply_async((1, key), queue="small") for _ in range(2)]
        eventually(lambda: len(pool.notes(key)) == 2)
        waiting = [tasks.add.apply_async((1, n), queue="small") for n in range(3)]
        eventually(lambda: len(pool.ask("small", "reserved")) == 3)
        if OURS:
            assert pool.slots("small")["waiting"] == 3
        assert [got(w) for w in waiting] == [1, 2, 3]
        assert [got(r) is None for r in running] == [False] * 2


class TestRevoking:
    def test_before_it_came(self, key: str) -> None:
        tasks.app.control.revoke(key, reply=True, timeout=1)
        refused(tasks.add.apply_async((1, 1), task_id=key), TaskRevokedError)

    def test_expired(self) -> None:
        refused(tasks.add.apply_async((1, 1), expires=-1), TaskRevokedError)

    @NO_STOP
    def test_what_runs(self, pool: Pool, key: str) -> None:
        result = tasks.nap.delay(LONG_S, key)
        pool.noted(key, "begin")
        result.revoke(terminate=True)
        refused(result, TaskRevokedError)
        assert result.state == "REVOKED"
        eventually(lambda: pool.busy("pool") == 0)
        assert "end" not in pool.notes(key)

    @ours_only("a process is killed")
    def test_a_coroutine_cleans_up(self, pool: Pool, key: str) -> None:
        result = tasks.nap.delay(LONG_S, key)
        pool.noted(key, "begin")
        result.revoke(terminate=True)
        pool.noted(key, "cancelled", "cleaned up")
        refused(result, TaskRevokedError)

    @pytest.mark.parametrize(
        "terminate",
        [
            pytest.param(
                False,
                marks=[
                    lacks("threads", "it runs, though its state is REVOKED"),
                ],
            ),
            True,
        ],
    )
    def test_what_waits_for_a_slot(self, pool: Pool, key: str, terminate: bool) -> None:
        running = [tasks.nap.apply_async((1, key), queue="small") for _ in range(2)]
        eventually(lambda: len(pool.notes(key)) == 2)
        waits = tasks.noted.apply_async((key, key), queue="small")
        eventually(lambda: pool.ask("small", "reserved"))
        waits.revoke(terminate=terminate)
        refused(waits, TaskRevokedError)
        for result in running:
            got(result)
        assert got(tasks.add.apply_async((1, 1), queue="small")) == 2
        assert key not in pool.notes(key)  # not run

    @lacks("threads", "it runs: nobody looks again once it was handed over")
    def test_what_expires_as_it_waits_for_a_slot(self, pool: Pool, key: str) -> None:
        running = [tasks.nap.apply_async((4, key), queue="small") for _ in range(2)]
        eventually(lambda: len(pool.notes(key)) == 2)
        short = [
            tasks.noted.apply_async((key, key), queue="small", expires=after)
            for after in (0.2, 0.5, datetime.now(UTC) + timedelta(seconds=0.8))
        ]
        long = tasks.add.apply_async((1, 1), queue="small", expires=LONG_S)
        eventually(lambda: len(pool.ask("small", "reserved")) == 4)
        for result in short:
            refused(result, TaskRevokedError)
            assert result.state == "REVOKED"
        for result in running:
            got(result)
        assert got(long) == 2
        assert key not in pool.notes(key)  # not run
        eventually(lambda: pool.ask("small", "reserved") == [])

    @NO_STOP
    def test_slots_serve_others_then(self, pool: Pool, key: str) -> None:
        """One that waits is stopped, then those that run."""
        running = [tasks.nap.apply_async((LONG_S, key), queue="small") for _ in range(2)]
        eventually(lambda: len(pool.notes(key)) == 2)
        waiting = [tasks.add.apply_async((1, n), queue="small") for n in range(3)]
        eventually(lambda: len(pool.ask("small", "reserved")) == 3)
        waiting[0].revoke(terminate=True)
        refused(waiting[0], TaskRevokedError)
        for result in running:
            result.revoke(terminate=True)
            refused(result, TaskRevokedError)
        assert [got(w) for w in waiting[1:]] == [2, 3]
        eventually(lambda: pool.busy("small") == 0)
        later = [tasks.add.apply_async((1, n), queue="small") for n in range(6)]
        assert [got(r) for r in later] == [1 + n for n in range(6)]

    @ours_only("a process is killed")
    def test_one_that_does_not_let_itself_be_cancelled(self, pool: Pool, key: str) -> None:
        """It cannot be stopped; its result is dropped and its slot is free."""
        result = tasks.swallows.delay(key)
        eventually(lambda: pool.ask("pool", "active"))
        result.revoke(terminate=True)
        pool.noted(key, "swallowed")
        refused(result, TaskRevokedError)
        eventually(lambda: pool.busy("pool") == 0)
        time.sleep(0.2)
        assert result.state == "REVOKED"

    @ours_only("of tasks that are no coroutine functions")
    def test_of_a_running_function_is_refused(self, pool: Pool, key: str) -> None:
        result = tasks.nap_sync.delay(0.5, key)
        pool.noted(key, "begin")
        (reply,) = tasks.app.control.revoke(
            result.id, terminate=True, reply=True, timeout=SOON_S, limit=1,
            destination=[pool.worker("pool").name],
        )  # fmt: skip
        assert "cannot be stopped" in str(reply)
        got(result)
        assert result.state == "SUCCESS"


@lacks("threads", "there are no limits")
class TestTimeLimits:
    def test_soft_is_raised_at_the_await(self) -> None:
        result = tasks.nap.apply_async((LONG_S,), soft_time_limit=0.2)
        refused(result, Exception, "SoftTimeLimitExceeded")
        assert result.state == "FAILURE"

    def test_soft_can_be_handled(self, pool: Pool, key: str) -> None:
        assert got(tasks.cleans_up.delay(key)) == "partial"
        assert pool.notes(key) == ["cleaned up"]

    @pytest.mark.parametrize(
        ("task", "options"), [(tasks.limited, {}), (tasks.nap, {"time_limit": 0.3})]
    )
    def test_hard_ends_it(self, pool: Pool, key: str, task: Any, options: Any) -> None:
        args = (key,) if task is tasks.limited else (LONG_S, key)
        result = task.apply_async(args, **options)
        refused(result, TimeLimitExceeded)
        assert result.state == "FAILURE"
        if OURS:
            pool.noted(key, "begin", "cancelled", "cleaned up")
        eventually(lambda: pool.busy("pool") == 0)

    def test_soft_then_hard(self, pool: Pool, key: str) -> None:
        options = {"soft_time_limit": 0.2, "time_limit": 0.4}
        refused(tasks.limited.apply_async((key,), **options), Exception)
        assert got(tasks.cleans_up.apply_async((key,), **options)) == "partial"


class TestWhenTheyRun:
    def test_rate_limit(self) -> None:
        times = sorted(got(r) for r in [tasks.limited_rate.delay() for _ in range(4)])
        assert times[-1] - times[0] > 0.4  # three gaps of 0.2 s

    def test_countdown(self) -> None:
        begin = time.monotonic()
        assert got(tasks.add.apply_async((1, 1), countdown=0.5)) == 2
        assert time.monotonic() - begin >= 0.4


class TestManyAtOnce:
    @ours_only("others hold a thread or a process for each")
    def test_hundreds_wait_on_one_thread(self, pool: Pool) -> None:
        process = psutil.Process(pool.worker("pool").pid)
        begin = time.monotonic()
        results = [tasks.nap.delay(5) for _ in range(MANY)]
        eventually(lambda: pool.slots("pool")["on-loop"] > MANY // 2, timeout_s=2 * SOON_S)
        threads = process.num_threads()
        beside = tasks.nap_sync.delay(0.1)
        assert {got(r) for r in results} == {"agents-loop"}
        assert got(beside).startswith("agents-task")
        assert threads < SYNC_THREADS + 30
        assert time.monotonic() - begin < 100  # ten times as long one after another

    @ours_only("others have no loop")
    def test_sync_tasks_do_not_hold_up_the_loop(self, pool: Pool, key: str) -> None:
        sleeping = [tasks.nap_sync.delay(6, key) for _ in range(SYNC_THREADS + 4)]
        eventually(lambda: len(pool.notes(key)) == SYNC_THREADS)
        assert got(tasks.add.delay(1, 1)) == 2
        assert "end" not in pool.notes(key)
        assert pool.slots("pool")["in-threads"] == SYNC_THREADS
        for result in sleeping:
            got(result)

    def test_each_has_its_own_request(self) -> None:
        results = [tasks.who.delay(5) for _ in range(50)]
        for result in results:
            assert {i for seen in got(result) for i in seen} == {result.id}

    @lacks("threads", "what a task sets, the next one in its thread sees")
    @lacks("prefork", "what a task sets, the next one in its process sees")
    def test_each_has_its_own_context(self) -> None:
        results = [tasks.variable_now.delay() for _ in range(20)]
        assert {got(r) for r in results} == {"unset"}


class TestSize:
    @NO_SIZE
    def test_grow_and_shrink(self, pool: Pool, key: str) -> None:
        name = [pool.worker("small").name]
        tasks.app.control.pool_grow(2, destination=name, reply=True, timeout=SOON_S, limit=1)
        eventually(lambda: pool.size("small") == 4)  # prefork looks every 5 s
        running = [tasks.nap.apply_async((0.5, key), queue="small") for _ in range(5)]
        eventually(lambda: pool.notes(key).count("begin") == 4)
        for result in running:
            got(result)
        tasks.app.control.pool_shrink(2, destination=name, reply=True, timeout=SOON_S, limit=1)
        eventually(lambda: pool.size("small") == 2)

    @NO_SIZE
    @lacks("prefork", "a busy child is not taken away: an error")
    def test_shrink_while_all_are_busy(self, pool: Pool, key: str) -> None:
        size = pool.size("small")
        running = [tasks.nap.apply_async((0.5, key), queue="small") for _ in range(2 * size)]
        eventually(lambda: pool.notes(key).count("begin") == size)
        name = [pool.worker("small").name]
        replies = tasks.app.control.pool_shrink(
            1, destination=name, reply=True, timeout=SOON_S, limit=1
        )
        assert "ok" in replies[0][name[0]]
        assert pool.size("small") == size - 1
        for result in running:
            got(result)

    @NO_SIZE
    def test_autoscale(self, pool: Pool, key: str) -> None:
        assert pool.size("scaled") == 2
        seconds = 1 if OURS else 5  # children take longer to fork
        running = [tasks.nap.apply_async((seconds, key), queue="scaled") for _ in range(10)]
        eventually(lambda: pool.notes(key).count("begin") == 10)
        assert pool.size("scaled") >= 10
        for result in running:
            got(result)
        eventually(lambda: pool.size("scaled") == 2)


class TestShutdown:
    def test_warm_lets_what_runs_end(self, pool: Pool, key: str) -> None:
        worker = pool.worker("warm")
        seconds = 1 if OURS else 3  # threads begin what waits until the consumer is closed
        running = [
            tasks.nap.apply_async((seconds, key), queue="warm"),
            tasks.nap_sync.apply_async((seconds, key), queue="warm"),
        ]
        eventually(lambda: pool.notes(key) == ["begin"] * 2)
        waits = tasks.add.apply_async((1, 1), queue="warm")
        later = tasks.add.apply_async((1, 1), queue="warm", countdown=60)
        eventually(lambda: pool.ask("warm", "scheduled"))
        worker.send(SIGTERM)
        worker.send(SIGTERM)  # a second one changes nothing
        assert worker.terminate() == 0
        assert [r.state for r in running] == ["SUCCESS"] * 2
        assert _ids(pool, "warm") == {waits.id, later.id}
        assert [waits.state, later.state] == ["PENDING"] * 2

    @ALL_WAITED_FOR
    def test_cold_gives_back_what_is_acknowledged_late(self, pool: Pool, key: str) -> None:
        worker = pool.worker("cold")
        late = tasks.nap_late.apply_async((LONG_S, key), queue="cold")
        early = tasks.nap.apply_async((LONG_S, key), queue="cold")
        function = tasks.nap_sync_late.apply_async((1, key), queue="cold")
        eventually(lambda: pool.notes(key) == ["begin"] * 3)
        begin = time.monotonic()
        worker.send(SIGQUIT)
        eventually(lambda: not worker.running)
        assert time.monotonic() - begin < 20
        if OURS:
            assert pool.notes(key).count("cleaned up") == 2
            assert function.state == "SUCCESS"  # a thread cannot be stopped: it was waited for
        assert _ids(pool, "cold") == ({late.id} if OURS else {late.id, function.id})
        assert early.state == "RETRY"  # acknowledged before it ran, as Celery's own pools
        assert late.state == "PENDING"

    @ALL_WAITED_FOR
    def test_cold_after_warm(self, pool: Pool, key: str) -> None:
        """Whoever does not want to wait any more."""
        worker = pool.worker("both")
        late = tasks.nap_late.apply_async((LONG_S, key), queue="both")
        pool.noted(key, "begin")
        worker.send(SIGTERM)
        worker.wait_for_log("Warm shutdown")
        time.sleep(0.3)
        worker.send(SIGQUIT)
        eventually(lambda: not worker.running)
        if OURS:
            assert "cleaned up" in pool.notes(key)
        assert _ids(pool, "both") == {late.id}

    @ALL_WAITED_FOR
    def test_soft_waits_first(self, pool: Pool, key: str) -> None:
        worker = pool.worker("soft")
        short = tasks.nap_late.apply_async((0.7, key), queue="soft")
        long = tasks.nap_late.apply_async((LONG_S, key), queue="soft")
        eventually(lambda: pool.notes(key) == ["begin"] * 2)
        worker.send(SIGQUIT)
        eventually(lambda: not worker.running)
        assert short.state == "SUCCESS"
        assert _ids(pool, "soft") == {long.id}
        if OURS:
            assert "cleaned up" in pool.notes(key)


def _ids(pool: Pool, queue: str) -> set[str]:
    """Ids of the messages in a queue."""
    return {json.loads(m)["headers"]["id"] for m in pool.redis.lrange(queue, 0, -1)}


@pytest.fixture(scope="module")
def ours(
    shared_broker: RedisServer, _migrated_sqlite: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """A worker of the service in this pool."""
    directory = tmp_path_factory.mktemp("steps")
    shutil.copyfile(_migrated_sqlite, directory / "journal.db")
    url = f"sqlite:///{directory / 'journal.db'}"
    env = {**FAST, "CELERY_CUSTOM_WORKER_POOL": "celery_agents.service:CoroutinePool"}
    stack = Stack(shared_broker.fresh_url(), url, directory, env)
    stack.worker(["-P", "custom", "-c", "500", *QUIET[:2], "-Q", "agents,agents.control"])
    yield stack
    stack.close()


@ours_only("test_pools.py has steps in the other pools")
class TestSteps:
    def test_many(self, ours: Stack) -> None:
        runs = ours.client.ask.many("shout", [f"w{n}" for n in range(MANY)])
        assert [r.get(timeout=SOON_S) for r in runs] == [f"W{n}" for n in range(MANY)]
        eventually(lambda: ours.unsettled() == [] and ours.unacked() == 0)

    def test_tried_again(self, ours: Stack, counted: Path) -> None:
        quick = RetryPolicy(base_delay_s=0.05)
        run = ours.client.ask("two_calls", {"path": str(counted)}, retry=quick)
        assert run.get(timeout=SOON_S) == "first of attempt 1, second of attempt 2"

    def test_chord_of_celery(self, ours: Stack) -> None:
        client = ours.client
        whole = chord([client.ask.s("noop", n) for n in range(5)])(client.ask.s("noop"))
        with allow_join_result():
            assert whole.get(timeout=SOON_S) == list(range(5))

    def test_votes(self, ours: Stack) -> None:
        assert ours.client.vote(["yes", "no", "yes"], "?").get(timeout=SOON_S).option == "yes"

    def test_revoked_while_it_runs(self, ours: Stack, counted: Path) -> None:
        run = ours.client.ask("slow", {"seconds": 60, "path": str(counted)})
        eventually(lambda: lines(counted))
        ours.client.celery.control.revoke(run.id, terminate=True)
        with pytest.raises(StepCancelledError):
            run.get(timeout=SOON_S)
        eventually(lambda: lines(counted) == ["begin", "cancelled"])

    def test_ends_in_order(self, ours: Stack, counted: Path) -> None:
        run = ours.client.ask("slow", {"seconds": 1, "path": str(counted)})
        eventually(lambda: lines(counted))
        (worker,) = ours.workers
        assert worker.terminate() == 0
        assert ours.state(run.id) == "succeeded"
