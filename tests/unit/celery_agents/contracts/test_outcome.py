"""Outcomes as they are written."""

from __future__ import annotations

from typing import Any

import pytest

from celery_agents.contracts.compensation import Compensation
from celery_agents.contracts.conversation import ChatMessage
from celery_agents.contracts.outcome import FREE, Answer, ErrorInfo, Outcome, State, Usage
from celery_agents.errors import AgentFailedError

_ABOUT: list[dict[str, Any]] = [
    {},
    {"value": 1},
    {"value": {"a": None}, "agent": "a", "attempts": 2, "duration_s": 0.5},
    {"value": 0, "member": "a#2", "duration_s": 0.0},
    {"left_out": 3, "active": "b", "deployment": "c#KEY"},
    {"usage": Usage()},
    {"usage": Usage(calls=1, cost_usd=None), "value": "x"},
    {"state": State.FAILED, "error": ErrorInfo.of(AgentFailedError("no"))},
    {"compensation": Compensation(agent="undo"), "value": 1},
    {"turns": (ChatMessage(role="user", content="hi"),), "value": 1},
    {"state": State.SKIPPED},
]


@pytest.mark.parametrize("about", _ABOUT, ids=str)
def test_what_is_written_is_what_the_contract_says(about: dict[str, Any]) -> None:
    """Whether it is written the short way or not: the same fields in the same order."""
    outcome = Outcome(**{"state": State.SUCCEEDED, **about})
    whole = outcome.model_dump(mode="json", exclude_defaults=True)
    value = {"value": whole.pop("value")} if outcome.value is not None else {}
    told = outcome.compact()
    assert [*told.items()] == [*whole.items(), *value.items()]
    assert type(told["state"]) is str
    assert Outcome.model_validate(told) == outcome


def test_what_is_said_of_no_cost_is_one_value() -> None:
    """So that it is seen at a glance."""
    assert Answer(value=1).usage is FREE
    assert Outcome.of(Answer(value=1)).usage is FREE
    assert Usage() == FREE
