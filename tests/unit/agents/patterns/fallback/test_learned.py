from __future__ import annotations

import pytest

from agents.patterns.fallback.learned import Learned, with_attempts
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
    known = with_attempts(Learned(), request, [member], at=1).candidates.get("a")
    assert (None if known is None else known.trials) == trials
    latencies = known.latencies if known is not None else {}
    assert bool(latencies) == (kind == "unavailable")  # to be refused tells no time
