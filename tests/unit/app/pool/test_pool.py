"""The pool without a worker: what it is given, what it tells."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery, current_task
from celery._state import _task_stack
from celery.exceptions import ImproperlyConfigured, SoftTimeLimitExceeded
from celery.utils import log as celery_log

from app.concurrency.fibers import current
from app.pool import pool as module
from app.pool.coroutines import adapt
from app.pool.pool import CoroutinePool, Job
from celery_agents.names import BULK
from tests.support.garbage import cycles

SOON = 20


def until(look: Callable[[], Any]) -> None:
    end = time.monotonic() + SOON
    while not look():
        assert time.monotonic() < end
        time.sleep(0.005)


class Hub:
    """Celery's, that runs when the test lets it."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, tuple[Any, ...]]] = []

    def call_soon(self, call: Any, *args: Any) -> None:
        self.calls.append((call, args))

    def turn(self) -> None:
        calls, self.calls = self.calls, []
        for call, args in calls:
            call(*args)


class Told:
    """What Celery's request would be told of one job."""

    def __init__(self) -> None:
        self.all: list[Any] = []
        self.done = threading.Event()
        self.pid: Any = None

    def accepted(self, pid: int, at: float) -> None:
        self.pid = pid
        self.all.append("accepted")

    def timed_out(self, soft: bool, limit: float) -> None:
        self.all.append(("soft" if soft else "hard", limit))

    def succeeded(self, value: Any) -> None:
        self.all.append(value)
        self.done.set()

    def failed(self, info: Any) -> None:
        self.all.append(repr(info.exception.exc))
        self.done.set()

    def wait(self) -> list[Any]:
        assert self.done.wait(SOON)
        return self.all


class Tasks:
    """An app with one task of each kind, and what they saw."""

    def __init__(self) -> None:
        self.app = Celery("t", broker="memory://", set_as_current=False)
        self.seen: list[Any] = []
        self.gate = threading.Event()
        self.app.task(name="waits", shared=False)(self._waits())
        self.app.task(name="blocks", shared=False)(self._blocks())
        self.app.task(name="fails", shared=False)(self._fails())

    def _waits(self) -> Any:
        async def waits(seconds: float = 60) -> str:
            self.seen.append("begin")
            try:
                await asyncio.sleep(seconds)
            except asyncio.CancelledError:
                self.seen.append("cancelled")
                await asyncio.sleep(0.02)
                self.seen.append("cleaned")
                raise
            except SoftTimeLimitExceeded:
                self.seen.append("soft")
                raise
            return "waited"

        return waits

    def _blocks(self) -> Any:
        def blocks() -> str:
            self.seen.append("begin")
            assert self.gate.wait(SOON)
            return threading.current_thread().name

        return blocks

    def _fails(self) -> Any:
        async def fails(error: type[BaseException]) -> None:
            raise error

        return fails


class Made:
    def __init__(self, tasks: Tasks, limit: int = 2, **options: Any) -> None:
        self.tasks = tasks
        self.pool = CoroutinePool(limit=limit, app=tasks.app, **options)
        self.pool.start()
        self.hub = Hub()

    def apply(self, name: str, *args: Any, told: Told | None = None, **options: Any) -> Told:
        told = told or Told()

        def trace(task: str, *args: Any) -> Any:
            return self.tasks.app.tasks[task].run(*args)

        told.job = self.pool.apply_async(  # type: ignore[attr-defined]
            trace, (name, *args), accept_callback=told.accepted, callback=told.succeeded,
            error_callback=told.failed, timeout_callback=told.timed_out, correlation_id=name,
            **options,
        )  # fmt: skip
        return told

    @property
    def free(self) -> bool:
        return not self.pool.slots.running


def job_of(told: Told) -> Job:
    job: Job = told.job  # type: ignore[attr-defined]
    return job


@pytest.fixture
def tasks() -> Tasks:
    return Tasks()


@pytest.fixture
def made(tasks: Tasks) -> Iterator[Made]:
    made = Made(tasks)
    yield made
    tasks.gate.set()
    made.pool.terminate()


class TestRunning:
    def test_on_the_loop(self, made: Made) -> None:
        assert made.apply("waits", 0).wait() == ["accepted", "waited"]
        until(lambda: made.free)

    @pytest.mark.parametrize("headers", [{}, {BULK: 1}])
    def test_one_of_many_lets_others_go_first(
        self, made: Made, tasks: Tasks, headers: dict[str, int]
    ) -> None:
        def named(*_: Any) -> None:
            fiber = current()
            tasks.seen.append(fiber is not None and fiber.bulk)

        made.pool.tasks["named"] = SimpleNamespace(run=named, on_loop=True)
        made.apply("named", "id", headers).wait()
        assert tasks.seen == [bool(headers)]

    def test_in_a_thread(self, made: Made, tasks: Tasks) -> None:
        tasks.gate.set()
        assert made.apply("blocks").wait()[1].startswith("agents-task")

    @pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt, MemoryError])
    def test_what_a_tracer_raises(self, made: Made, error: type[BaseException]) -> None:
        assert error.__name__ in made.apply("fails", error).wait()[1]
        until(lambda: made.free)
        assert made.apply("waits", 0).wait()[1] == "waited"

    def test_a_job_leaves_no_cycle(self, made: Made) -> None:
        """Celery's request keeps the pid, and the job the request's methods."""
        for _ in range(3):  # what is made once stays
            with cycles() as left:
                told = made.apply("waits", 0)
                told.wait()
                until(lambda: made.free)
                until(lambda: made.pool.loop.fibers == 0)
                del told.job, told  # type: ignore[attr-defined] # Celery's has a weak reference
        assert left == []

    def test_a_callback_that_fails_costs_no_slot(self, made: Made) -> None:
        for _ in range(3):
            told = Told()
            told.succeeded = lambda _: 1 // 0  # type: ignore[method-assign, assignment]
            made.apply("waits", 0, told=told)
        until(lambda: made.free)

    def test_more_than_slots_wait_their_turn(self, made: Made) -> None:
        told = [made.apply("waits", 0.05) for _ in range(5)]
        assert sum("accepted" in t.all for t in told) == 2
        assert made.pool.info["waiting"] == 3
        assert [t.wait()[1] for t in told] == ["waited"] * 5

    def test_without_a_thread_it_is_not_accepted_yet(
        self, tasks: Tasks, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "SYNC_THREADS", 1)
        made = Made(tasks, limit=10)
        first, second = made.apply("blocks"), made.apply("blocks")
        assert made.apply("waits", 0).wait()[1] == "waited"
        assert (first.all, second.all) == (["accepted"], [])
        tasks.gate.set()
        assert second.wait()[0] == "accepted"
        made.pool.terminate()

    def test_ends_are_told_by_the_hub(self, made: Made) -> None:
        made.pool.register_with_event_loop(made.hub)
        told = [made.apply("waits", 0) for _ in range(2)]
        until(lambda: len(made.pool._ended) == 2)
        assert all(t.all == ["accepted"] for t in told)
        assert len(made.hub.calls) == 1  # one wake for both
        made.hub.turn()
        assert all(t.all == ["accepted", "waited"] for t in told)

    def test_in_a_signal_handler_they_are_told_at_once(
        self, made: Made, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A soft shutdown sleeps there, and the hub with it."""
        made.pool.register_with_event_loop(made.hub)
        monkeypatch.setattr(celery_log, "_in_sighandler", True)
        assert made.apply("waits", 0).wait()[1] == "waited"

    def test_each_has_the_current_task(self, made: Made, tasks: Tasks) -> None:
        names: dict[str, Any] = {}

        def named(name: str) -> Any:
            async def own() -> None:
                await asyncio.sleep(0.01)
                names[name] = current_task.name

            return tasks.app.task(name=name, shared=False)(own)

        for name in ("one", "two"):
            adapt(named(name))
        task_stack = _task_stack

        def trace(name: str) -> Any:
            task_stack.push(tasks.app.tasks[name])
            try:
                return tasks.app.tasks[name].run()
            finally:
                task_stack.pop()

        told = {n: Told() for n in ("one", "two")}
        for name, one in told.items():
            made.pool.apply_async(trace, (name,), callback=one.succeeded)
        for one in told.values():
            one.wait()
        assert names == {"one": "one", "two": "two"}


class TestTimeLimits:
    def test_soft(self, made: Made, tasks: Tasks) -> None:
        told = made.apply("waits", soft_timeout=0.05).wait()
        assert told[1] == ("soft", 0.05)
        assert "SoftTimeLimitExceeded" in told[2]
        assert tasks.seen == ["begin", "soft"]

    def test_hard(self, made: Made, tasks: Tasks) -> None:
        told = made.apply("waits", timeout=0.05)
        until(lambda: "cleaned" in tasks.seen)
        assert told.all == ["accepted", ("hard", 0.05)]  # and nothing more
        assert made.free

    def test_of_the_worker(self, tasks: Tasks) -> None:
        made = Made(tasks, timeout=0.05, soft_timeout=None)
        made.apply("waits")
        until(lambda: "cleaned" in tasks.seen)
        told = made.apply("waits", 0.1, timeout=SOON)
        assert told.wait()[1] == "waited"  # the task's own comes first
        made.pool.terminate()

    def test_none_for_what_keeps_time_itself(self, made: Made, tasks: Tasks) -> None:
        tasks.app.tasks["waits"].keeps_time = True
        assert made.apply("waits", 0.1, timeout=0.01).wait() == ["accepted", "waited"]

    def test_soft_before_the_coroutine_begins(self, made: Made, tasks: Tasks) -> None:
        job = Job(made.pool, None, ("waits",), {}, {})
        job._soft_limit(1)

        interrupted: list[BaseException] = []
        begins = SimpleNamespace(interrupt=interrupted.append)
        job.waits_for(begins)  # type: ignore[arg-type]
        assert isinstance(interrupted[0], SoftTimeLimitExceeded)


class TestTerminating:
    def test_what_runs_on_the_loop(self, made: Made, tasks: Tasks) -> None:
        told = made.apply("waits")
        until(lambda: tasks.seen)
        made.pool.terminate_job(told.pid)
        job_of(told).terminate()
        until(lambda: "cleaned" in tasks.seen)
        assert told.all == ["accepted"]
        assert made.free

    def test_twice(self, made: Made, tasks: Tasks) -> None:
        told = made.apply("waits")
        until(lambda: tasks.seen)
        job_of(told).terminate()
        job_of(told).terminate()
        until(lambda: "cleaned" in tasks.seen)
        assert made.free

    @pytest.mark.parametrize("name", ["waits", "blocks"])
    def test_what_waits_for_a_slot_gives_it_on(self, made: Made, tasks: Tasks, name: str) -> None:
        running = [made.apply("waits", 0.1) for _ in range(2)]
        told = made.apply(name)
        job_of(told).terminate()
        until(lambda: job_of(told)._over)
        for one in running:
            one.wait()
        until(lambda: made.free)
        assert made.apply("waits", 0).wait()[1] == "waited"
        assert told.all == ["accepted"]  # at which Celery says REVOKED
        assert tasks.seen.count("begin") == 3

    def test_what_runs_in_a_thread_is_refused(
        self, made: Made, tasks: Tasks, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        told = made.apply("blocks")
        until(lambda: tasks.seen)
        with pytest.raises(NotImplementedError, match="cannot be stopped"):
            made.pool.terminate_job(told.pid)
        monkeypatch.setattr(celery_log, "_in_sighandler", True)
        made.pool.terminate_job(told.pid)  # a cold shutdown must not fail of it
        job_of(told).terminate()
        tasks.gate.set()
        assert told.wait()[1].startswith("agents-task")

    def test_a_process_id_is_one(self, made: Made) -> None:
        told = made.apply("waits", 0)
        told.wait()
        assert f"{told.pid}".isdigit()
        made.pool.terminate_job(12345)  # of no job of ours


class TestSize:
    def test_growing_starts_what_waits(self, made: Made, tasks: Tasks) -> None:
        told = [made.apply("waits", 0.2) for _ in range(4)]
        made.pool.grow(2)
        assert made.pool.num_processes == made.pool.info["max-concurrency"] == 4
        assert all("accepted" in t.all for t in told)
        for one in told:
            one.wait()

    def test_shrinking_lets_what_runs_end(self, made: Made) -> None:
        told = [made.apply("waits", 0.05) for _ in range(4)]
        made.pool.shrink(1)
        assert [t.wait()[1] for t in told] == ["waited"] * 4
        made.pool.shrink(10)
        assert made.pool.num_processes == 1


class TestTheEnd:
    def test_stopping_lets_what_runs_end(self, made: Made, tasks: Tasks) -> None:
        made.pool.register_with_event_loop(made.hub)
        tasks.gate.set()
        told = [made.apply("waits", 0.1), made.apply("blocks"), made.apply("waits", 0.1)]
        made.pool.close()
        made.pool.stop()
        assert [len(t.all) for t in told] == [2, 2, 0]  # the third had not begun

    def test_a_stopping_pool_begins_nothing(self, made: Made) -> None:
        told = [made.apply("waits", 0.1) for _ in range(4)]
        made.pool.stop()  # without close(): a cold shutdown
        assert [t.all[1:] for t in told] == [["waited"]] * 2 + [[]] * 2

    def test_terminating_waits_for_cleaning_up(self, made: Made, tasks: Tasks) -> None:
        made.apply("waits")
        until(lambda: tasks.seen)
        made.pool.terminate()
        assert tasks.seen == ["begin", "cancelled", "cleaned"]

    def test_what_cleans_up_for_ever_is_given_up(
        self, made: Made, tasks: Tasks, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "CLEANUP_S", 0.05)

        async def stays() -> None:
            tasks.seen.append("begin")
            try:
                await asyncio.sleep(60)
            finally:
                tasks.seen.append("stays")
                await asyncio.sleep(60)
                tasks.seen.append("left")

        adapt(tasks.app.task(name="stays", shared=False)(stays))
        made.apply("stays")
        until(lambda: "begin" in tasks.seen)
        made.pool.terminate()
        assert tasks.seen == ["begin", "stays"]  # and not yet "left"

    def test_a_lost_connection_forgets_what_has_not_begun(self, made: Made) -> None:
        """The broker delivers it again."""
        told = [made.apply("waits", 0.05) for _ in range(4)]
        made.pool.flush()
        for one in told[:2]:
            one.wait()
        until(lambda: made.free)
        assert [t.all for t in told[2:]] == [[], []]


def test_fast_locals_are_refused(tasks: Tasks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "USE_FAST_LOCALS", "1")
    with pytest.raises(ImproperlyConfigured, match="USE_FAST_LOCALS"):
        CoroutinePool(limit=1, app=tasks.app).start()
