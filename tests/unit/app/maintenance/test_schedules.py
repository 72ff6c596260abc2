"""Dispatching schedules as a worker does: their rows, their messages, and what goes wrong."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery

import tasks
from app.execution.runtime import Runtime
from app.journal.schema.rows import Aftermath, slot_id
from app.journal.steps.schedules import ScheduleKey
from app.maintenance import schedules
from app.maintenance.recovery import Recovery
from app.maintenance.schedules import Dispatcher
from celery_agents.contracts.flows.schedules import ScheduledRun, ScheduleRule
from celery_agents.errors import InvalidPayloadError, PayloadTooLargeError

TARGET = ScheduledRun(
    task="agents.ask", args=["hello"], kwargs={"agent": "a"}, queue="agents", priority=5
)
KEY = ScheduleKey("", "s")
assert tasks


def put(runtime: Runtime, at: float = 1.0, key: ScheduleKey = KEY, **rule: Any) -> None:
    runtime.journal.schedules.put(key, ScheduleRule(at=at, catchup="all", **rule), TARGET)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []

    def publish(_: Celery, wakes: Any) -> None:
        found.extend(wake.id for wake in wakes)

    monkeypatch.setattr(schedules, "publish", publish)
    return found


def test_what_is_due_is_written_and_its_message_sent(runtime: Runtime, sent: list[str]) -> None:
    put(runtime)
    assert Dispatcher(runtime).dispatch() == 1
    assert sent == [slot_id("", "s", 1.0)]
    assert Dispatcher(runtime).dispatch() == 0


def test_many_that_are_due_at_the_same_time(
    runtime: Runtime, sent: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedules, "SCHEDULES_MAX", 3)
    for n in range(10):
        put(runtime, key=ScheduleKey("", f"s{n}"))
    assert Dispatcher(runtime).dispatch() == 10
    assert len(set(sent)) == 10


def test_the_run_under_way_is_cancelled(
    runtime: Runtime, sent: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    put(runtime, overlap="replace")
    Dispatcher(runtime).dispatch()
    put(runtime, at=2.0, overlap="replace")
    followed: list[Aftermath] = []
    monkeypatch.setattr(Runtime, "follow", lambda _, after: followed.append(after))
    assert Dispatcher(runtime).dispatch() == 0
    assert len(followed) == 1
    assert Dispatcher(runtime).dispatch() == 1
    assert sent == [slot_id("", "s", 1.0), slot_id("", "s", 2.0)]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"task": "agents.cancel"}, "not a step"),
        ({"task": "nobody.knows"}, "not a step"),
        ({"kwargs": {"agent": "a", "bogus": 1}}, "bogus"),
        ({"kwargs": {}}, "agent"),
        ({"args": [1, 2, 3]}, "input|argument"),
    ],
)
def test_what_cannot_be_made(runtime: Runtime, change: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidPayloadError, match=told):
        Dispatcher(runtime).row(TARGET.model_copy(update=change), "r", "")


def test_what_is_too_large(runtime: Runtime) -> None:
    large = TARGET.model_copy(update={"args": ["x" * runtime.settings.payload_limit_bytes]})
    with pytest.raises(PayloadTooLargeError):
        Dispatcher(runtime).row(large, "r", "")


def test_what_is_wrong_with_schedules_keeps_recovery_from_nothing(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Recovery(runtime)
    looked: list[str] = []

    def broken(_: Dispatcher) -> int:
        raise ValueError("a bug")

    def take_in(_: int) -> int:
        looked.append("intake")
        return 0

    monkeypatch.setattr(Dispatcher, "dispatch", broken)
    monkeypatch.setattr(made._intake, "depth", lambda _: 0)
    monkeypatch.setattr(made, "_take_in", take_in)
    monkeypatch.setattr("app.maintenance.recovery.dead_letters_of", lambda _: MockLetters())
    made.sweep()
    assert looked == ["intake"]


class MockLetters:
    """No letters."""

    def take_in(self) -> int:
        return 0
