from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Generator, Iterable, Sequence
from itertools import islice
from typing import Any

import pytest
import redis
from celery.result import denied_join_result

from celery_agents.client import waiting
from celery_agents.client.client import Client
from celery_agents.client.run import AggregateRun, Run
from celery_agents.client.waiting import LOOK, NEAR, Waiting
from celery_agents.contracts.outcome import Outcome, State
from celery_agents.errors import AgentFailedError, ResultTimeoutError
from tests.support.redis_server import RedisServer
from tests.support.stored_results import worker_says


def runs_of(client: Client, count: int) -> list[Run]:
    return [Run(client.runs, f"r{n}") for n in range(count)]


def commands(store: redis.Redis) -> dict[str, int]:
    """How often each command was sent to the server."""
    stats: Any = store.info("commandstats")
    return {name.removeprefix("cmdstat_"): told["calls"] for name, told in stats.items()}


@pytest.mark.parametrize("count", [1, NEAR, NEAR + 1, 2 * LOOK + 1])
def test_values_in_the_order_of_the_runs(client: Client, store: redis.Redis, count: int) -> None:
    end(client, store, reversed(range(count)))
    assert client.runs.collect(runs_of(client, count), timeout=20) == list(range(count))


@pytest.mark.parametrize("count", [2, 50])
def test_runs_come_as_they_end(client: Client, count: int) -> None:
    """The last one that was asked for is the first one to end, then the first one."""
    seen = client.runs.as_completed(runs_of(client, count), timeout=20)
    for run_id in (f"r{count - 1}", "r0"):
        threading.Timer(0.1, worker_says, (client, run_id, run_id)).start()
        run = next(seen)
        assert (run.id, run.get(timeout=0)) == (run_id, run_id)
    assert isinstance(seen, Generator)
    seen.close()


def test_many_cost_few_commands(client: Client, store: redis.Redis) -> None:
    end(client, store, range(1000))
    runs = runs_of(client, 1000)
    before = commands(store)
    client.runs.collect(runs, timeout=20)
    after = commands(store)
    spent = {name: after[name] - before.get(name, 0) for name in after}
    assert spent["mget"] <= 4
    assert spent["subscribe"] <= 3
    assert spent.get("get", 0) == 0
    client.runs.collect(runs, timeout=0)  # read already
    assert commands(store)["mget"] == after["mget"]


def end(client: Client, store: redis.Redis, numbers: Iterable[int]) -> None:
    """Store the results of some runs, each its number."""
    with store.pipeline(transaction=False) as pipe:
        for n in numbers:
            meta = {"status": "SUCCESS", "result": n, "task_id": f"r{n}"}
            pipe.set(client.celery.backend.get_key_for_task(f"r{n}"), json.dumps(meta))
        pipe.execute()


@pytest.mark.parametrize(("shuffled", "most"), [(False, 9), (True, 13)])
def test_those_that_go_on_are_hardly_looked_for(
    client: Client, store: redis.Redis, monkeypatch: pytest.MonkeyPatch, shuffled: bool, most: int
) -> None:
    """Forty end between two looks, in their order or in none."""
    count = 4 * LOOK
    order = [*range(count)]
    if shuffled:
        random.Random(7).shuffle(order)
    left = iter(order)
    keys: list[int] = []
    look = Waiting.look

    def counted(self: Waiting, ids: Sequence[str]) -> Any:
        end(client, store, islice(left, 40))
        keys.append(len(ids))
        return look(self, ids)

    monkeypatch.setattr(Waiting, "look", counted)
    assert client.runs.collect(runs_of(client, count), timeout=60) == list(range(count))
    assert sum(keys) <= most * count


def test_one_among_many_is_found_wherever_it_stands(client: Client, store: redis.Redis) -> None:
    """Though nothing was found for a while."""
    count = 4 * LOOK
    seen = client.runs.as_completed(runs_of(client, count), timeout=60)
    end(client, store, range(LOOK))
    assert {next(seen).id for _ in range(LOOK)} == {f"r{n}" for n in range(LOOK)}
    for number in (count - 1, LOOK, count // 2):
        threading.Timer(0.3, end, (client, store, [number])).start()
        assert next(seen).id == f"r{number}"
    assert isinstance(seen, Generator)
    seen.close()


class Store:
    """Runs of which so many end in a second, in their order; its clock is all that passes."""

    def __init__(self, per_s: float) -> None:
        self.now, self._per_s = 1.0, per_s
        self.ended: set[str] = set()
        self._next = 0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def listen(self, _: Iterable[str]) -> bool:
        return False

    def wait(self, seconds: float) -> dict[str, Any]:
        self.now += seconds
        return {}

    def look(self, ids: Sequence[str]) -> dict[str, Any]:
        while self._next < (self.now - 1.0) * self._per_s:
            self.ended.add(f"r{self._next}")
            self._next += 1
        self.now += 0.002
        return {one: {"status": "SUCCESS", "result": 1} for one in ids if one in self.ended}


@pytest.mark.parametrize("per_s", [0, 1, 25, 100, 300])
@pytest.mark.parametrize("number", [1_500, 2_500, 4_999])
def test_one_far_behind_is_told_within_about_a_second(
    client: Client, monkeypatch: pytest.MonkeyPatch, per_s: float, number: int
) -> None:
    """Also while those before it end, and few of the others are looked for."""
    store: Any = Store(per_s)
    monkeypatch.setattr(waiting, "time", store)
    wait = waiting._Wait(store, runs_of(client, 5_000), None)
    while store.now < 3.0:
        wait.next(store)
    store.ended.add(f"r{number}")
    told = store.now + 1.2
    while f"r{number}" in wait.pending:
        wait.next(store)
    assert store.now < told


def test_one_is_a_single_look_and_a_subscription(client: Client, store: redis.Redis) -> None:
    worker_says(client, "warm", 1)
    client.runs.handle("warm").get(timeout=5)
    before = commands(store)
    timer = threading.Timer(0.2, worker_says, (client, "r", 5))
    timer.start()
    assert client.runs.handle("r").get(timeout=20) == 5
    timer.join()
    after = commands(store)
    assert (after["mget"] - before["mget"], after["subscribe"] - before["subscribe"]) == (1, 1)


def test_errors_are_raised_or_values(client: Client) -> None:
    failed = Outcome(state=State.FAILED, attempts=1)
    worker_says(client, "r0", 0)
    worker_says(client, "r1", AgentFailedError("no"), failed)
    runs = runs_of(client, 2)
    with pytest.raises(AgentFailedError, match="no"):
        client.runs.collect(runs, timeout=20)
    value, error = client.runs.collect(runs_of(client, 2), timeout=20, return_exceptions=True)
    assert value == 0
    assert isinstance(error, AgentFailedError)


def test_values_are_those_of_the_kind_of_run(client: Client) -> None:
    worker_says(client, "r", {"value": 2, "used": ["a"]})
    (aggregate,) = client.runs.collect([AggregateRun(client.runs, "r")], timeout=20)
    assert aggregate.value == 2


def test_a_run_twice_and_none_at_all(client: Client) -> None:
    worker_says(client, "r", 5)
    assert client.runs.collect([client.runs.handle("r"), client.runs.handle("r")], timeout=20) == [
        5,
        5,
    ]
    assert client.runs.collect([]) == []


def test_what_came_in_time_is_known(client: Client) -> None:
    worker_says(client, "r1", 1)
    runs = runs_of(client, 3)
    seen = []
    with pytest.raises(ResultTimeoutError, match=r"2 of 3 runs within 0\.1 s. They go on"):
        seen += [run.id for run in client.runs.as_completed(runs, timeout=0.1)]
    assert [run.known for run in runs] == [False, True, False]


def test_a_result_that_was_not_heard_is_looked_for(client: Client, store: redis.Redis) -> None:
    """As after a connection that was lost for a moment."""
    worker_says(client, "r", 5)
    key = client.celery.backend.get_key_for_task("r")
    raw = store.getdel(key)
    threading.Timer(0.2, store.set, (key, raw)).start()
    assert client.runs.handle("r").get(timeout=20) == 5


def test_the_broker_is_away_for_a_moment(client: Client, broker: RedisServer) -> None:
    run = client.runs.handle("r")
    threading.Timer(0.2, broker.stop).start()
    threading.Timer(1.0, broker.start).start()
    threading.Timer(3.0, worker_says, (client, "r", 5)).start()
    assert run.get(timeout=30) == 5


def test_runs_that_nobody_takes_are_sent_again(
    client: Client, store: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("celery_agents.client.waiting.AGAIN_S", (0.2, 0.2))
    runs = client.ask.many("a", range(NEAR + 2), priority=0)
    store.delete("agents")
    with pytest.raises(ResultTimeoutError):
        client.runs.collect(runs, timeout=1.5)
    sent = {json.loads(raw)["headers"]["id"] for raw in store.lrange("agents", 0, -1)}
    assert sent == {run.id for run in runs[:NEAR]}  # the oldest


def test_results_kept_elsewhere_are_read_by_celery(redis_url: str) -> None:
    with Client(redis_url, result_url="cache+memory://") as client:
        client.celery.backend.store_result("r0", 1, "SUCCESS")
        assert client.runs.collect([client.runs.handle("r0")], timeout=5) == [1]
        with pytest.raises(ResultTimeoutError, match="r1"):
            client.runs.handle("r1").get(timeout=0.01)


def test_threads_wait_at_the_same_time(client: Client) -> None:
    found: list[int] = []
    threads = [
        threading.Thread(
            target=lambda n=n: found.append(client.runs.handle(f"r{n}").get(timeout=20))
        )
        for n in range(10)
    ]
    for thread in threads:
        thread.start()
    time.sleep(0.1)
    for n in range(10):
        worker_says(client, f"r{n}", n)
    for thread in threads:
        thread.join()
    assert sorted(found) == list(range(10))


def test_a_task_does_not_wait_for_another(client: Client) -> None:
    """As Celery's own: a worker whose tasks wait for each other stands still."""
    with denied_join_result(), pytest.raises(AgentFailedError, match=r"await step\.ask"):
        client.runs.handle("r").get(timeout=1)
