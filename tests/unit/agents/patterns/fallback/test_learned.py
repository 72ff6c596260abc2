from __future__ import annotations

import json

import pytest

from agents.patterns.fallback.adaptive import Arm, Memory
from agents.patterns.fallback.learned import Learned, with_attempts, with_request
from agents.plan import MemberState
from celery_agents.contracts.outcome import ErrorInfo, Outcome, State
from celery_agents.contracts.patterns import Fallback


@pytest.mark.parametrize(
    ("kind", "trials"), [("unavailable", 1.0), ("rate_limited", 1.0), ("breaker_open", None)]
)
def test_who_was_not_called_is_not_judged(kind: str, trials: float | None) -> None:
    request = Fallback.model_validate({"candidates": ["a", "b"], "strategy": "adaptive"})
    error = ErrorInfo(kind=kind, message="", retryable=True)
    member = MemberState(
        key="a",
        state=State.FAILED,
        outcome=Outcome(state=State.FAILED, error=error),
        elapsed_s=0.001,
    )
    known = with_attempts(Learned(), [member], at=1, adaptive=request.adaptive).candidates.get("a")
    assert (None if known is None else known.trials) == trials
    latencies = known.latencies if known is not None else {}
    assert bool(latencies) == (kind == "unavailable")  # to be refused tells no time


def served(key: str) -> MemberState:
    return MemberState(
        key=key, state=State.SUCCEEDED, outcome=Outcome(state=State.SUCCEEDED), elapsed_s=0.0
    )


CHAIN = Fallback.model_validate({"candidates": ["a", "b"], "strategy": "adaptive"})
#: As it was written before there were squares and newest attempts.
EARLIER = {
    "requests": 70,
    "hedge_requests": 3.5,
    "candidates": {"a": {"reward": 20.0, "trials": 25.0, "at": 69, "latencies": {"3": 2.5}}},
}


def test_what_an_earlier_version_learned_counts_on() -> None:
    known = Learned.read(EARLIER)
    assert known.arms == {"a": Arm(Memory(20, 20, 25), Memory(), 69)}
    after = with_attempts(with_request(known, CHAIN), [served("a")], at=71, adaptive=CHAIN.adaptive)
    assert after.requests == 71
    assert after.candidates["a"].trials == pytest.approx(26, abs=0.1)
    assert after.candidates["a"].reward > 20
    assert Learned.read(after.compact()) == after


def test_what_a_later_version_adds_is_no_error() -> None:
    more = {**EARLIER, "more": 1, "candidates": {"a": {"reward": 1.0, "trials": 2.0, "more": []}}}
    assert Learned.read(more).arms["a"].known.trials == 2


def test_a_memory_is_read_as_it_was_written_and_stays_small() -> None:
    known = Learned()
    for number in range(1, 200):
        known = with_request(known, CHAIN)
        known = with_attempts(known, [served("a"), served("b")], at=number, adaptive=CHAIN.adaptive)
    assert Learned.read(known.compact()) == known
    assert len(json.dumps(known.compact())) < 600
