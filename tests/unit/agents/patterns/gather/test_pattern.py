from __future__ import annotations

from typing import Any

import pytest

from agents.patterns.gather.pattern import JUDGE, advance
from agents.plan import Expand, MemberState
from celery_agents.contracts.gather import Gather
from celery_agents.contracts.outcome import Outcome, State

ANSWERS = [
    MemberState(
        key=key, state=State.SUCCEEDED, outcome=Outcome(state=State.SUCCEEDED, value=key.upper())
    )
    for key in "ab"
]


def best() -> Gather:
    return Gather.model_validate(
        {"input": "Which?", "agents": ["a", "b"], "how": "best", "judge": "boss"}
    )


def judge(state: State, value: Any = None) -> MemberState:
    outcome = Outcome(state=state, value=value) if state.final else None
    return MemberState(key=JUDGE, state=state, outcome=outcome)


def kind(found: Expand | Outcome) -> str | None:
    assert isinstance(found, Outcome)
    return found.error.kind if found.error else None


@pytest.mark.parametrize("remaining_s", [None, 9, 0.2])
def test_the_judge_has_what_is_left_of_the_time(remaining_s: float | None) -> None:
    found = advance(best(), ANSWERS, remaining_s=remaining_s)
    assert isinstance(found, Expand)
    assert [m.key for m in found.members] == [JUDGE]
    assert found.join.timeout_s == remaining_s


@pytest.mark.parametrize("remaining_s", [0, -1])
def test_no_judge_is_asked_after_the_end(remaining_s: float) -> None:
    assert kind(advance(best(), ANSWERS, remaining_s=remaining_s)) == "timeout"


@pytest.mark.parametrize("state", [State.SKIPPED, State.RUNNING, State.CANCELLED])
def test_a_judge_that_is_silent_until_the_end(state: State) -> None:
    assert kind(advance(best(), [*ANSWERS, judge(state)], remaining_s=0)) == "timeout"


@pytest.mark.parametrize("remaining_s", [None, 5, 0])
def test_a_judge_that_answered_counts_however_late_it_is_now(remaining_s: float | None) -> None:
    scores = judge(State.SUCCEEDED, {"a": 1, "b": 2})
    found = advance(best(), [*ANSWERS, scores], remaining_s=remaining_s)
    assert isinstance(found, Outcome)
    assert isinstance(found.value, dict)
    assert found.value["value"] == "B"


def test_a_judge_that_fails_leaves_nothing_to_use() -> None:
    assert kind(advance(best(), [*ANSWERS, judge(State.FAILED)])) == "bad_answer"
