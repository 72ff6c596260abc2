"""Writes that the journal does not take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from celery.exceptions import Ignore

from agents.plan import Expand, Member
from app.execution.context import Step
from app.execution.runtime import Runtime
from app.journal.steps.claims import ClaimStep
from app.journal.steps.expansions import ExpandStep
from app.journal.steps.finishes import FinishStep
from celery_agents.contracts.ask import StepOptions
from celery_agents.errors import (
    AgentFailedError,
    InvalidPayloadError,
)
from tests.unit.app.execution.task.support import (
    receive,
    row,
    shout,
    woken,
)


def refusing(monkeypatch: pytest.MonkeyPatch, kind: Any, which: Callable[[Any], bool]) -> None:
    """Have the journal refuse some writes, as a database does a text that it cannot store."""
    apply, shot = kind.apply.__func__, kind.shot.__func__

    def refused(cls: Any, connection: Any, operations: Any) -> Any:
        if any(which(o) for o in operations):
            raise ValueError("a zero byte, or password=hunter2")
        return apply(cls, connection, operations)

    def none(cls: Any, operations: Any) -> Any:
        return None if any(which(o) for o in operations) else shot(cls, operations)

    monkeypatch.setattr(kind, "apply", classmethod(refused))
    monkeypatch.setattr(kind, "shot", classmethod(none))


def test_an_outcome_that_the_journal_refuses_is_a_failure_that_cost_the_same(
    make: Any, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusing(monkeypatch, FinishStep, lambda o: o.conclusion.outcome.ok)
    with pytest.raises(AgentFailedError, match="journal does not take") as error:
        receive(make(shout), "s", "hello")
    assert "hunter2" not in error.value.message
    found = row(runtime, "s")
    assert (found.state, found.attempts, found.outcome["usage"]) == ("failed", 1, {"calls": 1})


def test_one_that_cannot_end_at_all_is_left_to_its_attempts(
    make: Any, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is tried again when the heartbeat gives it back, until it is dead: not at once."""
    refusing(monkeypatch, FinishStep, lambda _: True)
    with pytest.raises(Ignore, match="cannot be ended"):
        receive(make(shout), "s", "hello")
    assert (row(runtime, "s").state, row(runtime, "s").attempts) == ("running", 1)


def test_members_that_the_journal_refuses_fail_their_pattern(
    make: Any, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    def parent(step: Step, request: StepOptions) -> Expand:
        return Expand(members=(Member(key="m", task="test.parent", input=1, options={}),))

    refusing(monkeypatch, ExpandStep, lambda _: True)
    with pytest.raises(AgentFailedError, match="journal does not take"):
        receive(make(parent), "p", 1)
    assert row(runtime, "p").state == "failed"


def test_a_row_that_the_journal_refuses_is_told(
    make: Any, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusing(monkeypatch, ClaimStep, lambda _: True)
    with pytest.raises(InvalidPayloadError, match="does not take the step"):
        receive(make(shout), "s", "hello")
    with pytest.raises(Ignore, match="more seldom"):  # of a row that is there
        woken(make(shout), "s")
