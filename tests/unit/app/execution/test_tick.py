"""Tasks of beat on a real journal."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery
from sqlalchemy import update

from app.execution.request import SHOWN_REQUEST
from app.execution.runtime import Runtime
from app.execution.tick import TickTask
from app.journal.schema.models import Slot
from celery_agents.errors import InvalidPayloadError


@pytest.fixture
def tick(app: Celery) -> Any:
    ran: list[Runtime] = []

    @app.task(base=TickTask, name="test.tick", shared=False)
    def tick(runtime: Runtime) -> int:
        ran.append(runtime)
        return len(ran)

    tick.ran = ran
    return tick


def receive(tick: Any, **kwargs: Any) -> Any:
    tick.push_request(id="m", called_directly=False, hostname="worker@here")
    try:
        return tick(**kwargs)
    finally:
        tick.pop_request()


def test_whoever_asks_for_it_has_it_done(tick: Any, runtime: Runtime) -> None:
    assert [receive(tick), receive(tick), receive(tick)] == [1, 2, 3]
    assert tick.ran == [runtime] * 3


def test_of_many_messages_of_a_turn_one_works(tick: Any, runtime: Runtime) -> None:
    assert [receive(tick, every_s=600) for _ in range(4)] == [1, None, None, None]
    past = update(Slot).values(taken_at=Slot.taken_at - 600)
    runtime.journal.transaction(lambda c: c.execute(past))
    assert [receive(tick, every_s=600) for _ in range(2)] == [2, None]


def test_each_task_takes_turns_of_its_own(tick: Any, app: Celery, runtime: Runtime) -> None:
    @app.task(base=TickTask, name="test.other", shared=False)
    def other(runtime: Runtime) -> str:
        return "done"

    assert receive(tick, every_s=600) == 1
    assert receive(other, every_s=600) == "done"
    assert receive(other, every_s=600) is None


@pytest.mark.parametrize("every_s", ["soon", -1, 0, float("nan"), True, [1]])
def test_a_turn_of_no_seconds_is_refused(tick: Any, every_s: Any) -> None:
    with pytest.raises(InvalidPayloadError, match="every_s: "):
        receive(tick, every_s=every_s)
    assert tick.ran == []
    assert issubclass(InvalidPayloadError, tick.throws)  # a line in the log, no traceback


def test_its_events_hold_no_secret(tick: Any) -> None:
    """As those of all that are no steps."""
    assert tick.Request == SHOWN_REQUEST


def test_it_is_sent_as_beat_sends_it(tick: Any) -> None:
    """Celery holds its arguments against those of a message, not of the function."""
    sent = tick.apply_async(kwargs={"every_s": 15.0})
    assert sent.id
    with pytest.raises(TypeError):
        tick.apply_async(kwargs={"runtime": 15.0})
