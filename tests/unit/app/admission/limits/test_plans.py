"""Plans of wants say what is wanted without them, whatever a request takes."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.governance.wants import About, corrections, wanted
from agents.needs import Needs
from app.admission.limits import plans
from app.admission.limits.plans import Plan, Plans
from app.admission.limits.wires import wires
from celery_agents.contracts.limits import LimitPolicy

ABOUT = About("gpt", "openai", "provider:openai", "provider:openai", tenant='a"b, c', run="r")
POLICIES = {
    "rate": LimitPolicy(requests_per_minute=600, tokens_per_minute=7_000),
    "apart": LimitPolicy(input_tokens_per_minute=100, output_tokens_per_minute=90, per="tenant"),
    "slots": LimitPolicy(concurrent=3, learn=True),
}


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.sets(st.sampled_from([*POLICIES])))
def test_a_plan_says_what_is_wanted(sent: int, back: int, names: set[str]) -> None:
    policies = {name: POLICIES[name] for name in sorted(names)}
    needs = Needs(sent, back)
    plan = Plan(wanted(policies, ABOUT, Needs()))
    found = plan.wants(needs)
    assert found == wanted(policies, ABOUT, needs)
    told = json.loads(plan.text)
    costs = [int(word) for word in plan.costs(needs).split()]
    for place, cost in zip(costs[::2], costs[1::2], strict=True):  # as the scripts do
        told[place - 1][-1] = cost
    assert told == wires(found)
    own = "slots:provider:openai"
    assert plan.held == ((f"S:{own}", f"U:{own}") if "slots" in names else ())
    for real in (None, Needs(), Needs(back, sent)):
        assert plan.wrong(needs, real) == corrections(found, real)


def test_a_plan_is_made_once_and_not_too_many_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plans, "KNOWN", 2)
    made: list[str] = []
    known = Plans()

    def wants() -> tuple[()]:
        made.append("one")
        return ()

    assert known.of("a", wants) is known.of("a", wants)
    assert len(made) == 1
    for key in ("b", "c", "a"):
        known.of(key, wants)
    assert len(made) == 4
    assert known.of("of each run", lambda: None) is None
