"""Serving events as a worker does: runs and their messages, projections, trimming."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
from celery import Celery
from sqlalchemy import update

import tasks
from app.execution.runtime import Runtime
from app.journal.following.subscribed import Subscribed, SubscriptionKey
from app.journal.schema.models import StreamCursor
from app.journal.schema.rows import NewEntry
from app.maintenance import subscriptions
from app.maintenance.projecting import Projector
from app.maintenance.subscriptions import EventBus
from celery_agents import projection
from celery_agents.contracts.flows.subscriptions import (
    StreamLimits,
    StreamSet,
    SubscriptionRule,
)

assert tasks
KEY = SubscriptionKey("", "s")
TARGET = {"task": "agents.ask", "kwargs": {"agent": "a"}, "queue": "agents", "priority": 5}


def put(runtime: Runtime, target: dict[str, Any] | None = None, **rule: Any) -> None:
    told = SubscriptionRule.read({"since": "start", **rule})
    wanted = Subscribed(StreamSet.of("order/*"), None, told, "runs", target or TARGET)
    runtime.journal.streams.subscriptions.put(KEY, wanted)


def write(runtime: Runtime, count: int) -> None:
    new = [NewEntry("", "order/7", "paid", {"n": n}) for n in range(count)]
    runtime.journal.streams.append("", "order/7", new)


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
