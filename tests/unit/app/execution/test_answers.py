from __future__ import annotations

import json
import math
import time
from typing import Any

import pytest

from agents.plan import Expand
from app.execution.answers import (
    answered,
    bounded,
    cancelled,
    decided,
    failed,
    kept,
    result_of,
    too_large,
)
from celery_agents.contracts.compensation import Compensation
from celery_agents.contracts.outcome import Answer, ErrorInfo, Outcome, State, Usage
from celery_agents.errors import (
    LoopStalledError,
    RateLimitedError,
    StepCancelledError,
    StepDeadError,
)
from tests.support.claims import claim
from tests.support.odd import deep

USAGE = Usage(calls=1, cost_usd=0.5)
DONE = Outcome(state=State.SUCCEEDED, usage=USAGE, agent="a", attempts=2)


@pytest.mark.parametrize(
    ("value", "fits"),
    [
        (None, True),
        ("x" * 98, True),
        ("x" * 99, False),
        ("ü" * 16, True),
        ("ü" * 17, False),  # as JSON that escapes
        (["x" * 96], True),
        (["x" * 97], False),
        ({"a": [0] * 44}, True),
        ({"a": [0] * 50}, False),
        (10**99, True),
        (10**100, False),
    ],
)
def test_the_limit_is_of_json(value: object, fits: bool) -> None:
    error = too_large(value, 100)
    assert (error is None) is fits
    assert (len(json.dumps(value, separators=(",", ":"))) <= 100) is fits
    if error is not None:
        assert "limit is 100 (answer_limit_bytes)" in error.message


def test_what_fits_is_kept_as_it_is() -> None:
    outcome = DONE.model_copy(update={"value": "x"})
    assert kept(outcome, 100) == outcome
    large = DONE.model_copy(update={"value": "x" * 999})
    assert kept(large, 100, known=True) == large  # a call's answer was measured


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("x" * 999, "answer_too_large"),
        (math.nan, "agent_failed"),
        ({"__type__": 1, "__value__": 1}, "agent_failed"),
        (deep(130), "agent_failed"),
        ({"a", "b"}, "agent_failed"),
    ],
)
def test_what_does_not_is_a_failure_that_cost_the_same(value: object, kind: str) -> None:
    undoable = {"value": value, "compensation": Compensation(agent="u")}
    found = kept(DONE.model_copy(update=undoable), 100)
    assert (found.state, found.value, found.compensation) == (State.FAILED, None, None)
    assert (found.usage, found.agent, found.attempts) == (USAGE, "a", 2)
    assert found.error is not None
    assert found.error.kind == kind


def test_patterns_have_room_around_answers() -> None:
    assert kept(DONE.model_copy(update={"value": deep(103)}), 1_000).ok


def test_details_are_bounded_too() -> None:
    small = ErrorInfo(kind="k", message="m", details={"a": 1})
    assert bounded(small, 100) is small
    large = ErrorInfo(kind="k", message="m", details={"a": "x" * 200})
    assert bounded(large, 100).details == {
        "left_out": "208 bytes of details, above answer_limit_bytes"
    }
    failed = Outcome(state=State.FAILED, error=large)
    assert kept(failed, 100).error == bounded(large, 100)


def bare(value: Any) -> Answer:
    found = result_of(value)
    assert isinstance(found, Answer)
    return found


NO = ErrorInfo(kind="k", message="m")
COMMON: dict[str, Any] = {"agent": "a", "member": "m", "attempts": 2}
SPENT = Usage(calls=3, cost_usd=0.25)


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        (lambda c: answered(bare(5), c), Outcome(state=State.SUCCEEDED, value=5, **COMMON)),
        (lambda c: answered(bare(None), c), Outcome(state=State.SUCCEEDED, **COMMON)),
        (
            lambda c: answered(Answer(value="x", usage=Usage(calls=1)), c),
            Outcome(state=State.SUCCEEDED, value="x", usage=Usage(calls=1), **COMMON),
        ),
        (
            lambda c: decided(Outcome(state=State.FAILED, error=NO, agent="other"), c),
            # Whoever answered is named: a fallback's winner, an agent's backup.
            Outcome(
                state=State.FAILED,
                error=NO,
                **{**COMMON, "agent": "other"},
            ),
        ),
        (
            lambda c: failed(RateLimitedError("slowly"), c, SPENT),
            Outcome(
                state=State.FAILED,
                error=ErrorInfo.of(RateLimitedError("slowly")),
                usage=SPENT,
                **COMMON,
            ),
        ),
        (
            lambda c: cancelled(c, SPENT),
            Outcome(
                state=State.CANCELLED,
                error=ErrorInfo.of(StepCancelledError()),
                usage=SPENT,
                **COMMON,
            ),
        ),
    ],
)
def test_one_outcome_for_whatever_came_out(end: Any, expected: Outcome) -> None:
    took = end(claim(since=time.monotonic() - 3, elapsed_s=40.0))
    assert took.duration_s == pytest.approx(43, abs=2)  # its earlier attempts, and this one
    assert took.model_copy(update={"duration_s": None}) == expected


def test_a_stalled_loop_is_the_end_of_a_step_that_somebody_has_to_look_after() -> None:
    end = failed(LoopStalledError(), claim(), SPENT)
    assert end.error is not None
    assert (end.state, end.error.kind, end.usage) == (State.DEAD, StepDeadError.kind, SPENT)
    assert "Given up after 2 attempts" in end.error.message


@pytest.mark.parametrize("typed", [Answer(value=1), DONE, Expand(members=())])
def test_what_is_a_result_already_stays_it(typed: Any) -> None:
    assert result_of(typed) is typed


@pytest.mark.parametrize("value", [None, 0, "x", [1], {"state": "failed"}])
def test_a_bare_value_is_an_answer_that_cost_nothing(value: Any) -> None:
    assert result_of(value) == Answer(value=value, usage=Usage())
