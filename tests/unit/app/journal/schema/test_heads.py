from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.journal.schema import heads
from app.journal.schema.engine import as_json
from celery_agents.contracts.compensation import Compensation
from celery_agents.contracts.conversation import ChatMessage
from celery_agents.contracts.outcome import ErrorInfo, Outcome, State, Usage
from celery_agents.contracts.policies import RetryPolicy

LONG = "🤖" * 180
USAGE = Usage(calls=10**9, input_tokens=10**15, output_tokens=10**15, cost_usd=1 / 3)
FULL = {
    "agent": LONG,
    "member": LONG,
    "usage": USAGE,
    "attempts": 100,
    "duration_s": 1 / 3,
    "left_out": 10**9,
    "compensation": Compensation(
        agent=LONG, retry=RetryPolicy(max_attempts=99, base_delay_s=1 / 3), timeout_s=1 / 3
    ),
}
TURNS = (ChatMessage(role="assistant", content='"usage":{"calls":7},' * 9_000),)
#: Values that look like what stands before them.
TRAPS: list[Any] = [
    None,
    "\0",
    "\ud83d",
    {"usage": {"calls": 7}},
    '"usage":{"calls":7}',
    {"a": '","usage":{"calls":7},"x":"'},
    [{"compensation": {"agent": "x"}}],
    "x" * 20_000,
]


@pytest.mark.parametrize("value", TRAPS)
@pytest.mark.parametrize("said", [FULL, {"agent": "a"}, {"turns": TURNS}, {}])
def test_a_head_is_what_comes_before_the_value(value: Any, said: dict[str, Any]) -> None:
    outcome = Outcome(state=State.SUCCEEDED, value=value, **said)
    written = as_json(outcome.compact())
    told = heads.read(written[: heads.HEAD])
    assert told == {k: v for k, v in json.loads(written).items() if k not in {"turns", "value"}}
    assert Usage.model_validate(told.get("usage", {})) == outcome.usage


def test_of_a_failure_it_ends_before_the_error() -> None:
    error = ErrorInfo(kind="k", message="\0", details={"usage": {"calls": 7}})
    outcome = Outcome(state=State.FAILED, error=error, usage=Usage(calls=1))
    assert heads.read(as_json(outcome.compact())) == {"state": "failed", "usage": {"calls": 1}}


@given(st.text())
def test_what_is_no_outcome_says_nothing_wrong(text: str) -> None:
    assert isinstance(heads.read(text), dict)


@pytest.mark.parametrize("cut", range(0, 120, 7))
def test_one_that_is_cut_off_says_what_is_whole(cut: int) -> None:
    outcome = Outcome(state=State.SUCCEEDED, agent="a", usage=Usage(calls=12), attempts=3)
    whole = outcome.compact()
    told = heads.read(as_json(whole)[:cut])
    assert told.items() <= whole.items() or "attempts" in told
