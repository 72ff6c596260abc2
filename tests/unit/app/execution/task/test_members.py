"""Patterns, whose attempts end with members."""

from __future__ import annotations

import time
from typing import Any

import pytest
from celery import signals
from celery.exceptions import Ignore
from sqlalchemy import select

from agents.plan import Expand, JoinPolicy, Member
from app.execution.context import Step
from app.execution.runtime import Runtime
from app.journal.schema.models import Join
from app.journal.schema.rows import derived_id
from celery_agents import names
from celery_agents.contracts.ask import StepOptions
from celery_agents.errors import (
    AgentFailedError,
    DeadlineExceededError,
)
from tests.unit.app.execution.task.support import (
    receive,
    row,
    shout,
    woken,
)


def test_a_pattern_can_be_woken_before_all_its_members_are_sent(
    make: Any, runtime: Runtime
) -> None:
    """A message that finds its step still active here would be dropped, and cost ten seconds."""
    seen: list[tuple[str, bool]] = []

    def sent(headers: dict[str, Any], **_: Any) -> None:
        seen.append((headers["id"], "p" in runtime.active))

    def parent(step: Step, request: StepOptions) -> Expand:
        return Expand(members=(Member(key="m", task="test.parent", input=1, options={}),))

    signals.before_task_publish.connect(sent)
    with pytest.raises(Ignore):
        receive(make(parent), "p", 1)
    assert [active for _, active in seen] == [False]
    assert row(runtime, "p").state == "waiting"


@pytest.mark.parametrize(("own_s", "waits_s"), [(None, 50), (500, 50), (5, 5)])
def test_a_pattern_waits_for_its_members_no_longer_than_it_has(
    make: Any, runtime: Runtime, own_s: float | None, waits_s: float
) -> None:
    """Whatever it asks for."""
    member = Member(key="m", task=names.APPROVAL, input=1, options={}, waits=True)

    def parent(step: Step, request: StepOptions) -> Expand:
        return Expand(members=(member,), join=JoinPolicy(timeout_s=own_s))

    with pytest.raises(Ignore):
        receive(make(parent), "p", 1, deadline_s=50)
    join = runtime.journal.read(lambda c: c.execute(select(Join.__table__)).one())
    assert join.deadline_at - row(runtime, "p").created_at == pytest.approx(
        (own_s == 5 and 5) or 50, abs=3
    )


def test_a_pattern_that_has_no_time_left_gets_no_members(make: Any, runtime: Runtime) -> None:
    def parent(step: Step, request: StepOptions) -> Expand:
        time.sleep(0.02)
        return Expand(members=(Member(key="m", task="test.parent", input=1, options={}),))

    with pytest.raises(DeadlineExceededError, match="was over"):
        receive(make(parent), "p", 1, deadline_s=0.01)
    assert row(runtime, "p").state == "failed"
    assert runtime.journal.members("p") == []


@pytest.mark.parametrize(("wait_s", "messages"), [(30, ["p", "m"]), (90, ["m"])])
def test_a_long_wait_for_members_stays_in_the_row(
    make: Any, runtime: Runtime, wait_s: float, messages: list[str]
) -> None:
    """A worker would hold its message unacknowledged until then."""
    sent: list[str] = []

    def seen(headers: dict[str, Any], **_: Any) -> None:
        sent.append("p" if headers["id"] == "p" else "m")

    def parent(step: Step, request: StepOptions) -> Expand:
        member = Member(key="m", task="test.parent", input=1, options={})
        return Expand(members=(member,), join=JoinPolicy(timeout_s=wait_s))

    signals.before_task_publish.connect(seen)
    with pytest.raises(Ignore):
        receive(make(parent), "p", 1)
    assert sent == messages


def test_a_pattern_that_asks_in_vain_fails(make: Any, runtime: Runtime) -> None:
    task = make(shout)

    def parent(step: Step, request: StepOptions) -> Expand:
        step.members()
        return Expand(members=(Member(key="m", task=task.name, input="x", options={}),))

    pattern = make(parent)
    with pytest.raises(Ignore):
        receive(pattern, "p", 1)
    woken(task, derived_id("p", "m"))
    with pytest.raises(AgentFailedError, match="for ever"):
        woken(pattern, "p")
    assert row(runtime, "p").state == "failed"
