"""Serving events as a worker does: runs and their messages, projections, trimming."""

from __future__ import annotations

import threading
import time
from types import ModuleType
from typing import Any

import pytest
from celery import Celery
from sqlalchemy import select, update

import tasks
from app.execution.runtime import Runtime
from app.journal.following import projections, trimming
from app.journal.following.subscribed import Subscribed, SubscriptionKey
from app.journal.schema.models import Step, StreamCursor
from app.journal.schema.rows import NewEntry
from app.maintenance import projecting, subscriptions
from app.maintenance.projecting import Projector
from app.maintenance.subscriptions import EventBus
from celery_agents import projection
from celery_agents.contracts.flows.subscriptions import (
    StreamLimits,
    StreamSet,
    SubscriptionRule,
)
from tests.support.drawn import costly

assert tasks
KEY = SubscriptionKey("", "s")
TARGET = {"task": "agents.ask", "kwargs": {"agent": "a"}, "queue": "agents", "priority": 5}


def put(
    runtime: Runtime,
    target: dict[str, Any] | None = None,
    *,
    name: str = "s",
    of: str = "order/*",
    **rule: Any,
) -> None:
    told = SubscriptionRule.read({"since": "start", **rule})
    wanted = Subscribed(StreamSet.of(of), None, told, "runs", target or TARGET)
    runtime.journal.streams.subscriptions.put(SubscriptionKey("", name), wanted)


def write(runtime: Runtime, count: int, stream: str = "order/7") -> None:
    new = [NewEntry("", stream, "paid", {"n": n}) for n in range(count)]
    runtime.journal.streams.append("", stream, new)


def served(runtime: Runtime) -> dict[str, int]:
    listed = runtime.journal.streams.subscriptions.listed("", None, 99)
    return {info["name"]: info["served"] for info in listed}


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []

    def publish(_: Celery, wakes: Any) -> None:
        found.extend(wake.id for wake in wakes)

    monkeypatch.setattr(subscriptions, "publish", publish)
    return found


def test_pages_follow_each_other(runtime: Runtime, sent: list[str]) -> None:
    put(runtime)
    write(runtime, 450)
    assert EventBus(runtime).serve() == 450
    assert len(set(sent)) == 450
    assert EventBus(runtime).serve() == 0


def test_a_task_that_is_not_here_is_tried_again(runtime: Runtime, sent: list[str]) -> None:
    put(runtime, {**TARGET, "task": "nobody.knows"})
    write(runtime, 1)
    assert EventBus(runtime).serve() == 0
    (info,) = runtime.journal.streams.subscriptions.listed(*KEY, 1)
    assert (info["failures"], info["behind"]) == (1, 1)
    assert "subscription: nobody.knows is not a step" in info["error"]
    assert sent == []


def test_one_that_cannot_be_read_keeps_no_other_one(runtime: Runtime, sent: list[str]) -> None:
    put(runtime)
    store = runtime.journal.streams.subscriptions
    with runtime.journal.engine.begin() as connection:
        connection.execute(update(StreamCursor).values(rule={"of a newer version": 1}))
    told = SubscriptionRule(since="start")
    other = Subscribed(StreamSet.of("order/*"), None, told, "runs", TARGET)
    store.put(SubscriptionKey("", "t"), other)
    write(runtime, 3)
    assert EventBus(runtime).serve() == 3


def test_runs_are_started_as_far_as_their_queue_has_room(
    runtime: Runtime, sent: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits there counts, the messages of others too; the rest waits in its stream."""
    depths = {"agents": 0}
    monkeypatch.setattr(type(runtime.intake), "depth", lambda _, queue: depths[queue])
    put(runtime)
    write(runtime, 3_000)
    bus = EventBus(runtime)
    most = subscriptions.BACKLOG * runtime.settings.wake_batch
    assert bus.serve() == most
    assert bus.serve() == 0
    with runtime.journal.engine.begin() as connection:
        connection.execute(update(Step).values(state="running"))
    depths["agents"] = most - 7
    assert bus.serve() == 7
    depths["agents"] = 0
    with runtime.journal.engine.begin() as connection:
        connection.execute(update(Step).values(state="running"))
    assert bus.serve() == 3_000 - most - 7
    assert len(set(sent)) == 3_000


def test_a_busy_one_keeps_no_other_one_from_their_queue(
    runtime: Runtime, sent: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(runtime.intake), "depth", lambda *_: 0)
    put(runtime, name="big")
    put(runtime, name="small", of="refund/*")
    write(runtime, 600)
    write(runtime, 1, "refund/1")
    bus = EventBus(runtime)
    bus._room._most = 50
    for _ in range(2):
        assert bus.serve() == 50
        with runtime.journal.engine.begin() as connection:
            connection.execute(update(Step).values(state="running"))
    assert served(runtime) == {"big": 99, "small": 1}
    changed = select(StreamCursor.changed_at).where(StreamCursor.name == "big")
    bus._room._most = 0
    with runtime.journal.engine.connect() as connection:
        before = connection.execute(changed).scalar_one()
    assert bus.serve() == 0
    with runtime.journal.engine.connect() as connection:
        assert connection.execute(changed).scalar_one() == before  # nothing is written in vain


def test_those_of_a_full_queue_keep_no_others_out_of_a_page(
    runtime: Runtime, sent: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    depths = {"agents": 0, "full": 1_000_000}
    monkeypatch.setattr(type(runtime.intake), "depth", lambda _, queue: depths[queue])
    monkeypatch.setattr(subscriptions, "SUBSCRIPTIONS_MAX", 3)
    for n in range(7):
        put(runtime, {**TARGET, "queue": "full"}, name=f"s{n}")
    put(runtime, name="other")
    write(runtime, 2)
    bus = EventBus(runtime)
    assert [bus.serve() for _ in range(2)] == [2, 0]
    assert served(runtime) == {"other": 2} | {f"s{n}": 0 for n in range(7)}


def test_one_that_fails_altogether_is_put_off(
    runtime: Runtime, sent: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    put(runtime)
    write(runtime, 1)
    bus = EventBus(runtime)

    def fails(*_: Any) -> Any:
        raise OSError("no")

    with monkeypatch.context() as patched:
        patched.setattr(type(bus._store), "serve", fails)
        assert bus.serve() == 0
    store = runtime.journal.streams.subscriptions
    assert store.due("runs", 9) == []
    assert "OSError" in store.listed(*KEY, 1)[0]["error"]
    with runtime.journal.engine.begin() as connection:
        connection.execute(update(StreamCursor).values(look_at=0.0))
    assert bus.serve() == 1


def test_a_rule_that_fails_stops_no_later_one(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(runtime, 9)
    streams = runtime.journal.streams
    for of in ("a/*", "order/*"):
        streams.keep("", StreamSet.of(of), StreamLimits(keep_bytes=1))
    over = trimming.over

    def fails(connection: Any, tenant: str, of: str) -> Any:
        if of == "a/*":
            raise ValueError("no")
        return over(connection, tenant, of)

    monkeypatch.setattr(trimming, "over", fails)
    assert EventBus(runtime).trim() == 9


def test_who_is_behind_with_trimming_goes_on_at_the_next_look(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trimming, "PAGE", 10)
    write(runtime, 901)
    runtime.journal.streams.keep("", StreamSet.of("order/*"), StreamLimits(keep_bytes=1))
    bus = EventBus(runtime)
    gone = [bus.trim() for _ in range(6)]
    assert gone == [200, 200, 200, 200, 101, 0]


def test_streams_are_trimmed_in_turns(runtime: Runtime) -> None:
    write(runtime, 9)
    streams = runtime.journal.streams
    streams.keep("", StreamSet.of("order/*"), StreamLimits(keep_bytes=1))
    bus = EventBus(runtime)
    assert bus.trim() == 9
    write(runtime, 9)
    assert bus.trim() == 0  # not before a minute is over
    assert EventBus(runtime).trim() == 0  # another worker neither: the turn is taken


def test_a_projection_that_cannot_be_emptied_keeps_no_other_one(runtime: Runtime) -> None:
    given: list[Any] = []

    def fails() -> None:
        raise ValueError("no")

    @projection("order/*", name="a", reset=fails)
    def first(_: Any) -> None: ...

    @projection("order/*", name="b")
    def second(entry: Any) -> None:
        given.append(entry.seq)

    module = ModuleType("shop")
    vars(module).update(first=first, second=second)
    runtime.agents.registry.add_module(module)
    write(runtime, 2)
    projector = Projector(runtime)
    assert projector.project() == 4
    runtime.journal.streams.subscriptions.rebuild(SubscriptionKey("", "a"))
    write(runtime, 1)
    assert projector.project() == 1
    assert given == [0, 1, 2]


def test_one_that_blocks_keeps_no_other_one(runtime: Runtime) -> None:
    """Nor is it given the same page twice meanwhile."""
    free, blocked, given = threading.Event(), threading.Event(), list[str]()

    @projection("order/*", name="a")
    def first(_: Any) -> None:
        given.append("a")
        blocked.set()
        assert free.wait(30)

    @projection("order/*", name="b")
    def second(_: Any) -> None:
        given.append("b")

    module = ModuleType("shop")
    vars(module).update(first=first, second=second)
    runtime.agents.registry.add_module(module)
    write(runtime, 1)
    projector = Projector(runtime)
    projector._every_s = 0.01
    projector.start()
    try:
        assert blocked.wait(30)
        until = time.monotonic() + 30
        while given.count("b") < 2 and time.monotonic() < until:
            if given.count("b") == 1:
                more = [NewEntry("", "order/8", "paid", {})]
                runtime.journal.streams.append("", "order/8", [more[0]])
            time.sleep(0.01)
        assert given.count("b") >= 2
        assert given.count("a") == 1
    finally:
        free.set()
        projector.stop()


def test_those_that_write_inside_take_turns(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is far behind keeps no other one from the few connections there are for them."""
    monkeypatch.setattr(projections, "PAGE", 1)
    monkeypatch.setattr(projecting, "INSIDE_MAX", 1)
    given, behind = list[str](), list[int]()

    @projection("order/*", name="a")
    def first(_: Any, connection: Any) -> None:
        assert connection is not None
        given.append("a")
        time.sleep(0.05)

    @projection("refund/*", name="b")
    def second(_: Any, connection: Any) -> None:
        assert connection is not None
        behind.append(given.count("a"))

    module = ModuleType("shop")
    vars(module).update(first=first, second=second)
    runtime.agents.registry.add_module(module)
    write(runtime, count := costly(100, part=3))
    write(runtime, 1, "refund/1")
    projector = Projector(runtime)
    projector._every_s = 0.01
    projector.start()
    try:
        until = time.monotonic() + 30
        while (not behind or given.count("a") < count) and time.monotonic() < until:
            time.sleep(0.01)
    finally:
        projector.stop()
    assert given.count("a") == count
    assert behind[0] < count


def test_one_goes_on_while_there_is_more(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projections, "PAGE", 1)

    @projection("order/*")
    def seen(_: Any) -> None: ...

    module = ModuleType("shop")
    vars(module)["seen"] = seen
    runtime.agents.registry.add_module(module)
    write(runtime, 30)
    assert Projector(runtime).project() == 30


def test_one_that_cannot_be_emptied_is_tried_again_soon(runtime: Runtime) -> None:
    """It is not held as if it were under way, and people are told why."""
    failing = [True]

    def empty() -> None:
        if failing:
            raise ValueError("no table")

    @projection("order/*", name="a", reset=empty)
    def first(_: Any) -> None: ...

    module = ModuleType("shop")
    vars(module)["first"] = first
    runtime.agents.registry.add_module(module)
    write(runtime, 2)
    store, key = runtime.journal.streams.subscriptions, SubscriptionKey("", "a")
    projector = Projector(runtime)
    projector.project()
    store.rebuild(key)
    assert projector.project() == 0
    with runtime.journal.engine.begin() as connection:
        row = connection.execute(select(StreamCursor.look_at, StreamCursor.error)).one()
    assert row.error == "ValueError: no table"
    assert row.look_at < time.time() + 10
    failing.clear()
    with runtime.journal.engine.begin() as connection:
        connection.execute(update(StreamCursor).values(look_at=0.0))
    assert projector.project() == 2


def test_projections_are_given_their_entries(runtime: Runtime) -> None:
    given: list[Any] = []

    @projection("order/*")
    def seen(entry: Any) -> None:
        given.append((entry.stream, entry.seq))

    module = ModuleType("shop")
    vars(module)["seen"] = seen
    runtime.agents.registry.add_module(module)
    write(runtime, 250)
    projector = Projector(runtime)
    assert projector.project() == 250
    assert given == [("order/7", seq) for seq in range(250)]
    assert projector.project() == 0
    assert Projector(runtime).project() == 0
