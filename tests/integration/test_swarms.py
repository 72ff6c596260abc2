"""Swarms with real workers: each unit once, whoever is killed; agreement without those who hang."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from celery_agents import Client, Swarm
from celery_agents.errors import InvalidPayloadError
from tests.integration.harness import FAST, SOON_S, Location, Stack, eventually, lines
from tests.support.drawn import in_turn

pytestmark = pytest.mark.databases("one")

MODULES = json.dumps(["tests.support.agents", "tests.support.swarming"])
WIDE = ["--concurrency", "100", "--without-mingle", "--without-gossip"]
WIDE += ["-Q", "agents,agents.control"]


@pytest.fixture
def stack(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Stack]:
    made = Stack(redis_url, database_url, tmp_path, FAST | {"AGENTS_MODULES": MODULES})
    yield made
    made.close()


@pytest.fixture(scope="module")
def _common(location: Location) -> Iterator[Stack]:
    made = Stack(*location, FAST | {"AGENTS_MODULES": MODULES})
    made.worker(WIDE)
    yield made
    made.close()


@pytest.fixture
def client(common: Stack) -> Client:
    return common.client


@pytest.fixture
def name(common: Stack) -> str:
    """The name of a swarm that no other test has."""
    return f"fraud-{common.tenant}"


def workers_of(count: int) -> dict[str, str]:
    return {f"m{n}": "works" for n in range(count)}


def test_members_stand_in_the_journal(client: Client, common: Stack, name: str) -> None:
    swarm = client.swarm(name, ["noop", "shout"])
    assert swarm.members() == {"noop": "noop", "shout": "shout"}
    with Client(common.redis_url) as other:
        again = other.swarm(name, {"second": "noop"})
        assert [*again.members()] == ["noop", "shout", "second"]
        assert [*again.leave("shout", "nobody")] == ["noop", "second"]
    assert [*swarm.members()] == ["noop", "second"]
    assert client.swarm(f"{name}-other").members() == {}
    assert client.swarm(name, tenant="acme").members() == {}
    swarm.join({"second": "shout"})
    assert swarm.members() == {"noop": "noop", "second": "shout"}
    for wrong in ("one text", [""], {"a": ""}):
        with pytest.raises(InvalidPayloadError):
            client.swarm(name, wrong)
    with pytest.raises(InvalidPayloadError, match="has no members"):
        client.swarm(f"{name}-other").broadcast("hello")
    with pytest.raises(InvalidPayloadError, match="more than the members"):
        swarm.request_consensus("?", required_votes=3)


def test_how_it_stands_is_told(client: Client, common: Stack) -> None:
    assert client.swarm.status("fraud", tenant=common.tenant) is None
    swarm = client.swarm("fraud", {"a": "hangs", "b": "noop"}, tenant=common.tenant)
    run = swarm.distribute_work(["x"], strategy="round_robin")

    def status() -> Any:
        return client.swarm.status("fraud", tenant=common.tenant)

    eventually(lambda: [one.units for one in status().work] == [1])
    assert status().members == {"a": "hangs", "b": "noop"}
    assert [one.run_id for one in status().work] == [run.id]
    assert [one.name for one in client.swarm.list(**common.mine)] == ["fraud"]
    assert client.swarm.list(tenant="acme", timeout=SOON_S) == []
    run.cancel()
    eventually(lambda: status().work == ())


def test_many_join_at_once(client: Client, common: Stack, name: str) -> None:
    def join(n: int) -> None:
        with Client(common.redis_url) as other:
            other.swarm(name, {f"m{n}": "noop"})

    threads = [threading.Thread(target=join, args=(n,)) for n in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(client.swarm(name).members()) == [f"m{n}" for n in range(5)]


def test_all_are_told_the_same(client: Client, name: str) -> None:
    swarm = client.swarm(name, {"a": "noop", "b": "shout", "c": "bad", "d": "hangs"})
    run = swarm.broadcast("look at T-1", sender="supervisor", member_timeout_s=5.0)
    found = run.get(timeout=2 * SOON_S)
    assert found.answers == {"a": "look at T-1", "b": "LOOK AT T-1"}
    assert sorted(found.failures) == ["c", "d"]
    (message,) = client.topics.history(swarm.topic)
    assert message.body == {"input": "look at T-1", "sender": "supervisor", "run_id": run.id}


def test_consensus_of_fifty_without_five_who_hang(client: Client, name: str) -> None:
    said = {f"y{n}": "yes" for n in range(41)} | {f"n{n}": "no" for n in range(4)}
    swarm = client.swarm(name, {f"h{n}": "hangs" for n in range(5)} | said)
    found = swarm.request_consensus("Block it?", required_votes=40).get(timeout=2 * SOON_S)
    assert (found.reached, found.option, found.members) == (True, "yes", 50)
    assert found.votes["yes"] >= 40
    found = swarm.request_consensus("Block it?").get(timeout=2 * SOON_S)
    assert (found.reached, found.required_votes) == (True, 26)


def test_no_consensus(client: Client, name: str) -> None:
    swarm = client.swarm(name, {"a": "yes", "b": "no", "c": "bad"})
    found = swarm.request_consensus("?", required_votes=2).get(timeout=SOON_S)
    assert (found.reached, found.votes) == (False, {"yes": 1, "no": 1})
    swarm.leave("c")
    assert not swarm.request_consensus("?", required_votes=2).get(timeout=SOON_S).reached
    swarm.leave("b")
    found = swarm.request_consensus("?", required_votes=1).get(timeout=SOON_S)
    assert (found.reached, found.option) == (True, "yes")


def at_least(path: Path, count: int) -> bool:
    return len(lines(path)) >= count


def orders(path: Path, count: int, **more: Any) -> list[Any]:
    return [{"path": str(path), "unit": n, **more} for n in range(count)]


@pytest.mark.parametrize("strategy", ["round_robin", "least_busy", "priority"])
def test_work_is_shared(client: Client, name: str, tmp_path: Path, strategy: Any) -> None:
    swarm, path = client.swarm(name, workers_of(4)), tmp_path / "lines"
    told = orders(path, 12)
    told[5]["fails"] = True
    told[11]["priority"] = 0
    found = swarm.distribute_work(told, strategy=strategy).get(timeout=2 * SOON_S)
    assert (found.count, found.succeeded, found.failed) == (12, 11, 1)
    assert [one and one[0] for one in found.results] == [n if n != 5 else None for n in range(12)]
    assert "does not work" in found.failures[5].message
    if strategy == "round_robin":
        assert [*found.by] == [f"m{n % 4}" for n in range(12)]
    if strategy == "priority":
        assert found.by[11] == "m0"
    assert sorted(map(int, lines(path))) == [n for n in range(12) if n != 5]


def test_who_joins_and_leaves_meanwhile(client: Client, name: str, tmp_path: Path) -> None:
    swarm, go = client.swarm(name, workers_of(2)), tmp_path / "go"
    told = orders(tmp_path / "lines", 9)
    told[0]["after"] = told[1]["after"] = str(go)
    run = swarm.distribute_work(told)
    eventually(lambda: client.runs.known(run.id, timeout=SOON_S))
    eventually(lambda: [*run.history(timeout=SOON_S)])
    swarm.join({"new": "works"})
    eventually(lambda: len(lines(tmp_path / "lines")) >= 2)  # the new one's; others wait
    swarm.leave("m1")
    go.touch()
    found = run.get(timeout=SOON_S)
    assert found.succeeded == 9
    assert Counter(found.by)["m1"] == 1
    assert found.by[0:2] == ("m0", "m1")
    assert Counter(found.by)["new"] >= 2


@pytest.mark.parametrize("strategy", in_turn(["round_robin", "least_busy"], 0, part=2))
def test_each_unit_once_whoever_is_killed(stack: Stack, tmp_path: Path, strategy: Any) -> None:
    """A hundred units, fifty members, three kills, an emptied Redis: each has one answer."""
    workers = [stack.worker(WIDE) for _ in range(2)]
    swarm, path = stack.client.swarm("fraud", workers_of(50)), tmp_path / "lines"
    told = orders(path, 100, seconds=0.2)
    run = swarm.distribute_work(told, strategy=strategy, member_timeout_s=600.0)
    for strike in range(3):
        until = partial(at_least, path, 20 * (strike + 1))
        eventually(until, timeout_s=2 * SOON_S)
        workers[strike % 2].kill()
        if strike == 1:
            stack.redis.flushdb()
        workers[strike % 2] = stack.worker(WIDE)
    eventually(lambda: stack.row(run.id).state == "succeeded", timeout_s=4 * SOON_S)
    found: Any = run.read(stack.row(run.id).outcome["value"])
    assert (found.count, found.succeeded) == (100, 100)
    assert [one[0] for one in found.results] == [*range(100)]
    assert len({one[1] for one in found.results}) == 100  # a step each, and no more
    assert stack.counts() == 101
    assert set(map(int, lines(path))) == set(range(100))
    assert isinstance(swarm, Swarm)
