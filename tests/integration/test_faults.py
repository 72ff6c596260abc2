"""Killed, frozen, emptied: what is accepted ends all the same, and nothing finished is repeated."""

from __future__ import annotations

import json
import signal
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from celery import Celery, chord
from celery.exceptions import TaskRevokedError

from app.journal.schema.rows import derived_id
from celery_agents import RetryPolicy
from celery_agents.contracts.base import JsonValue
from celery_agents.errors import StepCancelledError, StepDeadError
from tests.integration.harness import (
    COROUTINES,
    FAST,
    MODULES,
    PREFORK,
    SOON_S,
    Location,
    Stack,
    eventually,
    lines,
)
from tests.support.beside import beside
from tests.support.redis_server import RedisServer
from tests.support.workers import WorkerProcess

pytestmark = pytest.mark.databases("both")

LEASE_S = float(FAST["AGENTS_LEASE_S"])
QUICK = RetryPolicy(base_delay_s=0.05)


@pytest.fixture
def fast(own_location: Location) -> Iterator[Stack]:
    """A stack of the test's own, as elsewhere, on both databases: each recovers in its own way."""
    made = Stack(*own_location, FAST)
    yield made
    made.close()


@contextmanager
def supervised(worker: WorkerProcess) -> Iterator[None]:
    """Start it again whenever it ends, as any process manager does."""

    def watch(over: threading.Event) -> None:
        while not over.wait(0.05):
            if not worker.running:
                worker.start()

    with beside(watch):
        yield


class TestKilledWorker:
    @pytest.mark.databases("one")
    def test_goes_on_under_its_own_name(self, fast: Stack, counted: Path) -> None:
        worker = fast.worker(env={"AGENTS_LEASE_S": "600"})  # nobody waits for the lease here
        orders: list[JsonValue] = [
            {"path": str(counted), "seconds": 0.3, "value": n} for n in range(40)
        ]
        runs = fast.client.ask.many("count", orders)
        eventually(lambda: len(lines(counted)) >= 5)
        worker.kill()
        before = set(lines(counted))
        worker.start()
        eventually(lambda: set(lines(counted)) - before, timeout_s=2 * SOON_S)
        assert [r.get(timeout=SOON_S) for r in runs] == list(range(40))
        assert fast.calls_made_twice() == 0
        again = len(lines(counted)) - len(set(lines(counted)))
        assert again <= 16  # those that ran to their end and were killed before it was written

    def test_its_steps_run_elsewhere(self, fast: Stack, counted: Path) -> None:
        workers, seen = [fast.worker(), fast.worker()], counted.with_name("seen")
        order: JsonValue = {"after": str(seen), "path": str(counted), "value": "ended"}
        run = fast.client.ask("slow", order)
        eventually(lambda: lines(counted))
        workers.sort(key=lambda worker: run.id not in worker.logs())
        first, second = workers
        first.kill()
        seen.touch()
        assert run.get(timeout=2 * SOON_S) == "ended"
        assert lines(counted) == ["begin", "begin", "end"]
        assert fast.row(run.id).attempts == 2
        assert run.id in second.logs()

    @pytest.mark.databases("one")
    def test_finished_calls_are_kept(self, fast: Stack, counted: Path) -> None:
        worker = fast.worker()
        with supervised(worker):
            run = fast.client.ask("two_calls", {"path": str(counted), "kill": True})
            value = run.get(timeout=SOON_S)
        assert value == "first of attempt 1, second of attempt 2"
        acts = [line.split()[0] for line in lines(counted)]
        assert acts == ["first", *["between"] * acts.count("between"), "second"]
        assert fast.calls_made_twice() == 0

    def test_votes_end_right(self, fast: Stack) -> None:
        worker = fast.worker()
        voters = ["yes", "slow_yes", "no"]
        runs = fast.client.vote.many(voters, [f"? {n}" for n in range(20)], stop="none")
        with supervised(worker):
            for _ in range(2):
                time.sleep(0.4)  # somewhere in the middle: this is chaos, not a condition
                worker.kill()
            assert [r.get(timeout=60).option for r in runs] == ["yes"] * 20
        assert fast.calls_made_twice() == 0

    @pytest.mark.databases("one")
    def test_a_step_that_always_kills_it_is_given_up(self, fast: Stack, counted: Path) -> None:
        worker = fast.worker()
        policy = RetryPolicy(max_attempts=3)
        with supervised(worker):
            run = fast.client.ask("killer", {"path": str(counted), "until": 99}, retry=policy)
            with pytest.raises(StepDeadError, match="3 attempts"):
                run.get(timeout=60)
        assert lines(counted) == ["attempt 1", "attempt 2", "attempt 3"]
        assert fast.state(run.id) == "dead"
        eventually(lambda: fast.unsettled() == [])

    @pytest.mark.databases("one")
    def test_prefork_child(self, fast: Stack, counted: Path) -> None:
        worker = fast.worker(PREFORK)
        run = fast.client.ask("killer", {"path": str(counted), "until": 2})
        assert run.get(timeout=2 * SOON_S) == "attempt 2"
        assert lines(counted) == ["attempt 1", "attempt 2"]
        assert worker.running
        assert fast.client.ask("shout", "on").get(timeout=SOON_S) == "ON"

    @pytest.mark.databases("one")
    def test_prefork_child_from_outside(self, fast: Stack, counted: Path) -> None:
        worker, seen = fast.worker(PREFORK), counted.with_name("seen")
        order: JsonValue = {"after": str(seen), "path": str(counted), "value": 1}
        run = fast.client.ask("slow", order)
        eventually(lambda: lines(counted))
        for child in psutil.Process(worker.pid).children():
            child.send_signal(signal.SIGKILL)
        seen.touch()
        assert run.get(timeout=2 * SOON_S) == 1
        assert lines(counted) == ["begin", "begin", "end"]

    def test_in_what_follows_a_step(self, fast: Stack, counted: Path) -> None:
        """Its row was claimed as it was made, and no broker may know of it."""
        ask, seen = fast.client.ask.s, counted.with_name("seen")
        order: JsonValue = {"after": str(seen), "path": str(counted), "value": "once"}
        worker = fast.worker()
        result = (ask("noop", order) | ask("slow") | ask("shout")).apply_async()
        eventually(lambda: lines(counted))
        worker.kill()
        seen.touch()
        fast.worker()
        assert result.get(timeout=2 * SOON_S) == "ONCE"
        assert lines(counted) == ["begin", "begin", "end"]
        eventually(lambda: not fast.unsettled())

    @pytest.mark.databases("one")
    def test_before_what_follows_has_begun(self, fast: Stack, tmp_path: Path) -> None:
        """Nobody was told that the step before has ended, or that there is a next one."""
        ask, killed = fast.client.ask.s, tmp_path / "killed"
        modules = [*json.loads(MODULES["AGENTS_MODULES"]), "tests.support.killed_at_link"]
        dying = {"AGENTS_MODULES": json.dumps(modules), "KILLED_AT_LINK": str(killed)}
        worker = fast.worker(env=dying)
        result = (ask("noop", "once") | ask("noop") | ask("shout")).apply_async()
        assert result.parent is not None
        assert result.parent.parent is not None
        links = [result.parent.parent.id, result.parent.id, result.id]
        eventually(lambda: not worker.running, "the worker is killed")
        assert [fast.state(link) for link in links] == ["succeeded", "running", None]
        assert fast.unsettled() == links[:1]
        fast.worker(env=dying)
        assert result.get(timeout=2 * SOON_S) == "ONCE"
        assert [fast.row(link).attempts for link in links] == [1, 2, 1]
        eventually(lambda: not fast.unsettled())


class TestStoppedWorker:
    @pytest.mark.databases("one")
    def test_lets_a_running_step_end(self, fast: Stack, counted: Path) -> None:
        worker = fast.worker()
        run = fast.client.ask("slow", {"seconds": 2, "path": str(counted), "value": 1})
        eventually(lambda: lines(counted))
        assert worker.terminate() == 0
        assert lines(counted) == ["begin", "end"]
        assert run.get(timeout=SOON_S) == 1
        assert fast.state(run.id) == "succeeded"

    def test_frozen_past_its_lease_writes_nothing_afterwards(
        self, fast: Stack, counted: Path
    ) -> None:
        frozen, seen = fast.worker(), counted.with_name("seen")
        shout = fast.client.ask.s("shout")
        order: JsonValue = {"after": str(seen), "path": str(counted), "value": "once"}
        chain = (fast.client.ask.s("slow", order) | shout).apply_async()
        eventually(lambda: lines(counted))
        fast.freeze(frozen)
        seen.touch()
        fast.worker()
        assert chain.get(timeout=2 * SOON_S) == "ONCE"
        slow_id, shout_id = chain.parent.id, chain.id
        eventually(lambda: fast.row(slow_id).settled and fast.row(shout_id).settled)
        before = (fast.row(slow_id), fast.row(shout_id))
        frozen.resume()
        eventually(lambda: "lease" in frozen.life() or "late" in frozen.life())
        assert fast.client.ask("shout", "x").get(timeout=SOON_S) == "X"
        time.sleep(1)  # time for the write and the message that must not come
        assert (fast.row(slow_id), fast.row(shout_id)) == before
        assert fast.messages(shout_id) == []
        assert sum(w.logs().count(f"[{shout_id}] received") for w in fast.workers) == 1
        assert fast.counts() == 3


@pytest.mark.databases("one")
class TestLostMessages:
    def test_never_arrived(self, fast: Stack) -> None:
        """Of a run, of one with what follows it, of a cancellation, of members of a chord."""
        ask = fast.client.ask
        run = ask("shout", "intake")
        chain = (ask.s("shout", "a") | ask.s("noop", priority=2)).apply_async()
        members = chord([ask.s("shout", word) for word in "abc"])(ask.s("noop"))
        fast.client.runs.cancel("to-be-cancelled")
        assert fast.drop_messages("agents.control") == 1
        assert fast.drop_messages() == 5
        fast.worker()
        assert run.get(timeout=SOON_S) == "INTAKE"
        assert chain.get(timeout=SOON_S) == "A"
        assert members.get(timeout=SOON_S) == ["A", "B", "C"]
        eventually(lambda: fast.state("to-be-cancelled") == "cancelled")
        eventually(lambda: not fast.redis.hexists("agents:intake", run.id))

    def test_successor_between_two_steps(self, fast: Stack) -> None:
        fast.worker()
        later = fast.client.ask.s("noop").set(queue="later")
        result = (fast.client.ask.s("shout", "x") | later).apply_async()
        eventually(lambda: fast.depth("later"))
        eventually(lambda: fast.state(result.parent.id) == "succeeded" and not fast.unsettled())
        assert fast.drop_messages("later") == 1
        assert fast.client.celery.control.add_consumer("later", reply=True)
        assert result.get(timeout=2 * SOON_S) == "X"

    @pytest.mark.parametrize("pool", [COROUTINES, PREFORK], ids=["coroutines", "prefork"])
    def test_redis_flushed_between_two_steps(
        self, own_broker: RedisServer, database_url: str, tmp_path: Path, pool: list[str]
    ) -> None:
        """What follows a step stands in the journal before it is published."""
        stack = Stack(own_broker.url, database_url, tmp_path, FAST)
        try:
            stack.worker(pool)
            ask = stack.client.ask
            chain = ask.s("shout", "x") | ask.s("noop").set(queue="later") | ask.s("noop")
            result = chain.apply_async()
            first, second = result.parent.parent.id, result.parent.id
            eventually(lambda: stack.state(first) == "succeeded" and not stack.unsettled())
            assert stack.state(second) == "ready"
            own_broker.wipe()
            assert stack.client.celery.control.add_consumer("later", reply=True)
            assert result.get(timeout=2 * SOON_S) == "X"
        finally:
            stack.close()

    def test_redis_flushed_in_the_middle(
        self, own_broker: RedisServer, database_url: str, tmp_path: Path
    ) -> None:
        stack = Stack(own_broker.url, database_url, tmp_path, FAST)
        try:
            stack.worker()
            runs = stack.client.vote.many(["slow_yes"] * 3 + ["yes"], range(15), stop="none")
            eventually(lambda: stack.counts() == 15 * 5)  # every vote has asked its members
            own_broker.wipe()
            assert [r.get(timeout=60).option for r in runs] == ["yes"] * 15
            assert stack.calls_made_twice() == 0
        finally:
            stack.close()


@pytest.mark.databases("sqlite")
class TestCelerysOwnWays:
    """What users of Celery do to messages holds for rows too."""

    def test_revoked_member(self, common: Stack) -> None:
        run_id = str(uuid.uuid4())
        revoke(common, derived_id(run_id, "no"))
        run = common.client.vote(["yes", "yes", "no"], "?", stop="none", id=run_id)
        assert run.get(timeout=2 * SOON_S).option == "yes"

    def test_revoked_run(self, common: Stack) -> None:
        run_id = str(uuid.uuid4())
        revoke(common, run_id)
        run = common.client.ask("noop", 1, id=run_id)
        with pytest.raises((TaskRevokedError, StepCancelledError)):
            run.get(timeout=SOON_S)
        eventually(lambda: common.state(run_id) == "cancelled" and not common.unsettled())

    def test_expired_run(self, fast: Stack, counted: Path) -> None:
        sent = fast.client.ask.s("count", {"path": str(counted)}).apply_async(expires=0.2)
        time.sleep(0.5)
        fast.worker()
        eventually(lambda: fast.state(sent.id) == "cancelled" and not fast.unsettled())
        assert lines(counted) == []

    def test_countdown(self, common: Stack, counted: Path) -> None:
        sent = time.monotonic()
        late = common.client.ask.s("count", {"path": str(counted)}).apply_async(countdown=4)
        eventually(lambda: lines(counted))
        assert time.monotonic() - sent > 3.5
        late.get(timeout=SOON_S)
        assert lines(counted) == [late.id]


def revoke(stack: Stack, task_id: str) -> None:
    """Every worker knows of it once this returns."""
    control = stack.client.celery.control

    def known() -> bool:
        control.revoke(task_id)  # again: one that is not bound yet, though ready, misses it
        return task_id in str(control.inspect(timeout=0.3).revoked())

    eventually(known)


@pytest.mark.databases("sqlite")
class TestCopies:
    """One worker serves these: they harm nothing."""

    def test_of_a_finished_step(self, common: Stack, counted: Path) -> None:
        run = common.client.ask("count", {"path": str(counted), "value": 1})
        assert run.get(timeout=SOON_S) == 1
        again = common.client.ask("count", {"path": str(counted), "value": 1}, id=run.id)
        eventually(lambda: common.workers[0].logs().count(f"[{run.id}] succeeded") == 2)
        assert again.get(timeout=SOON_S) == 1
        assert lines(counted) == [run.id]

    def test_of_a_running_step(self, common: Stack, counted: Path) -> None:
        order: JsonValue = {"seconds": 1, "path": str(counted), "value": 1}
        run = common.client.ask("slow", order)
        eventually(lambda: lines(counted))
        for _ in range(3):
            common.client.ask("slow", order, id=run.id)
        assert run.get(timeout=SOON_S) == 1
        assert lines(counted) == ["begin", "end"]
        assert common.row(run.id).attempts == 1

    def test_finished_but_not_acknowledged(self, common: Stack, counted: Path) -> None:
        """Its successor is published again, under the same id, and runs once."""
        plain = Celery("somebody", broker=common.redis_url, backend=common.redis_url)
        first = plain.signature("agents.ask", ["x"], {"agent": "shout"}, queue="agents")
        order: JsonValue = {"path": str(counted), "value": "once"}
        second = common.client.ask.s("count", order).set(task_id=f"{time.monotonic_ns()}-second")
        second.immutable = True
        first.set(task_id=f"{time.monotonic_ns()}-first")
        whole = first | second
        for _ in range(2):
            assert whole.apply_async().get(timeout=SOON_S) == "once"
        eventually(lambda: common.workers[0].logs().count(f"[{second.id}] received") == 2)
        assert lines(counted) == [second.id]
        plain.close()
