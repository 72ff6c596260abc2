"""Events with real workers: each starts one run and counts once, whoever is killed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from app.journal.schema.engine import connect
from app.journal.stores.audit import AuditLog
from celery_agents import StreamEvent, SubscriptionInfo
from celery_agents.errors import InvalidPayloadError, StreamConflictError
from tests.integration.harness import FAST, SOON_S, Location, Stack, celery, eventually, lines
from tests.support.drawn import costly
from tests.support.folding import TABLE
from tests.support.service import APP

pytestmark = pytest.mark.databases("one")

#: Events of a stream before each kill.
EACH = costly(25, part=3)
MODULES = ["tests.support.agents", "tests.support.lasting", "tests.support.folding"]


@pytest.fixture
def events(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Stack]:
    made = Stack(redis_url, database_url, tmp_path, {**FAST, "AGENTS_MODULES": json.dumps(MODULES)})
    with made.engine.begin() as connection:
        connection.execute(text(TABLE))
    yield made
    made.close()


@pytest.fixture(scope="module")
def _common(location: Location) -> Iterator[Stack]:
    made = Stack(*location, {**FAST, "AGENTS_MODULES": json.dumps(MODULES)})
    with made.engine.begin() as connection:
        connection.execute(text(TABLE))
    made.worker()
    yield made
    made.close()


@pytest.fixture
def served(_common: Stack) -> Stack:
    """A stack with a worker, whose tenant has no events but the test's."""
    return _common.tenanted()


def stood(stack: Stack, name: str) -> SubscriptionInfo:
    found = stack.client.events.subscription(name, tenant=stack.tenant, timeout=SOON_S)
    assert found is not None
    return found


def payments(*amounts: int) -> list[StreamEvent]:
    return [StreamEvent(kind="paid", data={"n": n}) for n in amounts]


def sums(stack: Stack) -> dict[str, int]:
    with stack.engine.connect() as connection:
        return {row.stream: row.sum for row in connection.execute(text("SELECT * FROM paid"))}


def values(stack: Stack) -> list[Any]:
    """What the events were that started the runs which have ended."""
    found = stack.client.runs.list(tenant=stack.tenant, limit=1_000, timeout=SOON_S).runs
    rows = [stack.row(run.id) for run in found if run.state.final]
    return [row.payload["args"][0]["data"]["n"] for row in rows]


def test_an_event_starts_a_run(served: Stack) -> None:
    client, about = served.client, served.mine
    made = client.on("order/*", kind="paid", run=client.ask.s("noop"), name="orders", **about)
    assert (made.of, made.kind, made.what, made.behind) == ("order/*", "paid", "noop", 0)
    client.events.append("order/7", payments(1, 2), **about)
    client.events.append("order/7", [StreamEvent(kind="seen")], **about)
    eventually(lambda: sorted(values(served)) == [1, 2])
    run = client.runs.list(**about).runs[0]
    value: Any = client.runs.handle(run.id).get(timeout=SOON_S)
    assert (value["stream"], value["kind"]) == ("order/7", "paid")
    assert stood(served, "orders").served == 2
    client.events.pause("orders", **about)
    assert stood(served, "orders").paused
    client.events.resume("orders", **about)
    with pytest.raises(InvalidPayloadError, match="no subscription nobody"):
        client.events.pause("nobody", **about)
    with pytest.raises(InvalidPayloadError, match="input is the event"):
        client.on("order/*", run=client.ask.s("noop", 1), **about)
    with pytest.raises(InvalidPayloadError, match="service's own"):
        client.on("session/*", start="refund", **about)
    with pytest.raises(StreamConflictError):
        client.events.append("order/7", payments(1), expected=0, **about)
    assert client.events.off("orders", **about)
    assert not client.events.off("orders", **about)
    engine = connect(served.database_url)
    acts = {(act["action"], act["target"]) for act in AuditLog(engine).newest(20)}
    engine.dispose()
    verbs = ["put", "pause", "resume", "delete"]
    assert {(f"subscription.{verb}", "orders") for verb in verbs} <= acts


def test_events_of_a_step_start_flows(served: Stack, tmp_path: Path) -> None:
    """A step's entry is in the transaction of its end; a flow takes it as its input."""
    client, path, about = served.client, tmp_path / "lines", served.mine
    client.on("told/*", run=client.ask.s("noop"), since="start", key="{data[value]}", **about)
    order: Any = {"path": str(path), "value": "once", "stream": "told/1"}
    for _ in range(2):
        assert client.ask("noted", order, tenant=served.tenant).get(timeout=SOON_S) == "once"
    eventually(lambda: stood(served, "told/* each: noop").served == 2)
    (row,) = [r for r in client.runs.list(**about).runs if r.agent == "noop"]
    assert client.runs.handle(row.id).get(timeout=SOON_S)["data"] == {"value": "once"}
    assert lines(path) == ["once", "once"]


def test_each_event_starts_one_run_whoever_dies(events: Stack) -> None:
    """Kills and an emptied Redis amid events of three streams; a projection counts along."""
    workers = [events.worker() for _ in range(2)]
    client, count = events.client, 0
    client.on("paid/*", kind="paid", run=client.ask.s("noop"), name="x", timeout=SOON_S)
    for strike in range(4):
        for stream in range(3):
            told = payments(*range(count, count + EACH))
            client.events.append(f"paid/{stream}", told, timeout=SOON_S)
            count += EACH
        workers[strike % 2].kill()
        if strike == 2:
            events.redis.flushdb()
        workers[strike % 2] = events.worker()
    eventually(lambda: stood(events, "x").served == count, timeout_s=2 * SOON_S)
    eventually(lambda: len(values(events)) == count, timeout_s=2 * SOON_S)
    assert Counter(values(events)) == Counter(range(count))
    eventually(lambda: sum(sums(events).values()) == sum(range(count)))
    assert events.counts() == count


def test_a_projection_and_a_state(served: Stack) -> None:
    client = served.client
    client.events.append("paid/1", payments(*range(50)), timeout=SOON_S)
    client.events.append("paid/2", payments(7), timeout=SOON_S)
    eventually(lambda: sums(served) == {"paid/1": sum(range(50)), "paid/2": 7})
    found = client.events.state("paid/1", "balance", timeout=SOON_S)
    assert (found.state, found.seq, found.version) == (sum(range(50)), 49, 1)
    with served.engine.begin() as connection:
        connection.execute(text("UPDATE paid SET sum = 0"))
    client.events.rebuild("paid", timeout=SOON_S)
    eventually(lambda: sums(served) == {"paid/1": sum(range(50)), "paid/2": 7})
    with pytest.raises(InvalidPayloadError, match="no reducer 'nobody'"):
        client.events.state("paid/1", "nobody", timeout=SOON_S)
    (info,) = client.events.subscriptions(timeout=SOON_S)
    assert (info.serves, info.behind) == ("projection", 0)


def test_poison_is_a_letter_that_is_served_again(served: Stack) -> None:
    client = served.client
    about: Any = {"run": client.ask.s("noop"), "name": "x", **served.mine}
    client.on("paid/*", key="{data[id]}", failures_max=1, **about)
    client.events.append("paid/1", payments(1), **served.mine)
    letter = eventually(lambda: client.dead_letters.list(timeout=SOON_S))[0]
    assert (letter["cause"], letter["task"]) == ("entry", "agents.ask")
    assert "no {data[id]}" in letter["reason"]
    with pytest.raises(InvalidPayloadError, match="data\\[id\\]"):
        client.dead_letters.requeue(letter["id"], timeout=SOON_S)
    client.on("paid/*", **about)  # mended
    client.dead_letters.requeue(letter["id"], timeout=SOON_S)
    eventually(lambda: values(served) == [1])
    assert client.dead_letters.list(timeout=SOON_S) == []


@pytest.mark.databases("sqlite")
def test_events_from_a_shell(events: Stack) -> None:
    events.worker()

    def shell(*words: str) -> Any:
        done = celery("-A", APP, "agents", "events", *words, "--json", env=events.env)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout) if done.stdout.startswith(("{", "[")) else done.stdout

    assert shell("on", "paid/*", "--agent", "noop", "--name", "x")["of"] == "paid/*"
    assert shell("append", "paid/1", "paid", '{"n": 5}') == {"stream": "paid/1", "seq": 0}
    assert shell("read", "paid/1")["data"] == {"n": 5}
    assert shell("state", "paid/1", "balance")["state"] == 5
    shell("keep", "paid/*", "--days", "30")
    assert shell("kept")[0]["limits"]["keep_s"] == 30 * 86_400
    assert [one["name"] for one in shell("list")] == ["paid", "x"]
    shell("pause", "x")
    shell("rebuild", "paid")
    assert shell("off", "x") == {"name": "x"}
