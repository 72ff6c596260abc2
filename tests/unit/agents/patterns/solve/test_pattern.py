from __future__ import annotations

from typing import Any

import pytest

from agents.patterns.fallback.adaptive import Arm, Memory
from agents.patterns.fallback.learned import CandidateRecord, Learned
from agents.patterns.solve.pattern import SELECT, advance
from agents.plan import Expand, MemberState
from celery_agents import names
from celery_agents.contracts.outcome import ErrorInfo, Outcome, State, Usage
from celery_agents.contracts.teams.solve import Solution, Solve

PANEL: dict[str, Any] = {"verb": "vote", "options": {"voters": ["a", "b"]}, "name": "panel"}
CHAIN: dict[str, Any] = {"verb": "fallback", "options": {"candidates": ["a", "b"]}}


def solve(**options: Any) -> Solve:
    given = {"input": "x", "strategies": ["a", PANEL, CHAIN], **options}
    return Solve.model_validate(given)


def ended(key: str, value: Any = None, *, error: str = "") -> MemberState:
    why = ErrorInfo(kind=error, message=f"{key} said {error}") if error else None
    state = State.FAILED if error else State.SUCCEEDED
    about: Any = {"usage": Usage(calls=1, cost_usd=0.5), "value": value, "error": why}
    return MemberState(key=key, state=state, outcome=Outcome(state=state, agent="z", **about))


def knows(**rewards: float) -> Learned:
    """A memory that is sure of what each strategy earns."""
    return Learned(
        requests=900,
        candidates={
            name.replace("_", "(a, b)" if name == "fallback_" else "_"): CandidateRecord().with_arm(
                Arm(Memory(900 * earned, 900 * earned * earned, 900), Memory(), 900)
            )
            for name, earned in rewards.items()
        },
    )


KNOWN = knows(a=0.3, panel=0.9, fallback_=0.6)


def errors_of(outcome: Outcome) -> Any:
    assert outcome.error is not None
    return outcome.error.details["errors"]


def first(plan: Any) -> Any:
    assert isinstance(plan, Expand)
    (member,) = plan.members
    return member


def test_the_best_that_is_known_goes_first_and_the_next_one_where_it_fails() -> None:
    member = first(advance(solve(), [], step_id="s", learned=KNOWN))
    assert (member.key, member.task, member.input) == ("panel", names.VOTE, "x")
    assert member.options == {"voters": [{"agent": "a"}, {"agent": "b"}]}
    tried = [ended("panel", error="no_decision")]
    member = first(advance(solve(), tried, step_id="s", learned=KNOWN))
    assert (member.key, member.task) == ("fallback(a, b)", names.FALLBACK)
    outcome = advance(solve(), [*tried, ended(member.key, "y")], step_id="s", learned=KNOWN)
    assert isinstance(outcome, Outcome)
    found = Solution.model_validate(outcome.value)
    assert (found.value, found.strategy, found.selected) == ("y", "fallback(a, b)", False)
    assert [(f.strategy, f.kind) for f in found.failed] == [("panel", "no_decision")]
    assert outcome.usage == found.usage == Usage(calls=2, cost_usd=1.0)
    assert outcome.agent == "z"


def test_nothing_more_is_tried_than_may_be() -> None:
    tried = [ended("panel", error="no_decision")]
    outcome = advance(solve(tries=1), tried, step_id="s", learned=KNOWN)
    assert isinstance(outcome, Outcome)
    assert outcome.error is not None
    assert outcome.error.kind == "all_failed"
    assert errors_of(outcome)["panel"]["kind"] == "no_decision"
    assert outcome.usage.cost_usd == 0.5


def test_the_time_of_all_is_that_of_each() -> None:
    plan = advance(solve(), [], step_id="s", learned=KNOWN, remaining_s=3.0)
    assert isinstance(plan, Expand)
    assert plan.join.timeout_s == 3.0
    running = MemberState(key="panel", state=State.CANCELLED)
    outcome = advance(solve(), [running], step_id="s", learned=KNOWN, remaining_s=0.0)
    assert isinstance(outcome, Outcome)
    assert outcome.error is not None
    assert "panel" in errors_of(outcome)


@pytest.mark.parametrize(
    ("said", "chosen", "selected"),
    [
        (ended(SELECT, "a"), "a", True),
        (ended(SELECT, {"option": "A "}), "a", True),
        (ended(SELECT, "nobody"), "panel", False),
        (ended(SELECT, error="timeout"), "panel", False),
    ],
)
def test_an_agent_selects_and_else_what_was_learned(
    said: MemberState, chosen: str, selected: bool
) -> None:
    request = solve(select="chooser")
    asked = first(advance(request, [], step_id="s", learned=KNOWN))
    assert (asked.key, asked.agent) == (SELECT, "chooser")
    assert asked.options["choices"] == ["a", "panel", "fallback(a, b)"]
    assert first(advance(request, [said], step_id="s", learned=KNOWN)).key == chosen
    outcome = advance(request, [said, ended(chosen, "y")], step_id="s", learned=KNOWN)
    assert isinstance(outcome, Outcome)
    assert Solution.model_validate(outcome.value).selected is selected


def test_a_lone_agent_gives_way_while_others_are_left() -> None:
    best = knows(a=0.9, panel=0.1, fallback_=0.2)
    member = first(advance(solve(), [], step_id="s", learned=best))
    assert member.key == member.agent == "a"
    assert "rate_limited" in member.options["when_open"]
    others = [ended("panel", error="x"), ended("fallback(a, b)", error="x")]
    member = first(advance(solve(), others, step_id="s", learned=best))
    assert "when_open" not in member.options


def test_the_same_step_chooses_the_same() -> None:
    def chosen(step_id: str) -> str:
        return str(first(advance(solve(), [], step_id=step_id)).key)

    assert {chosen("s") for _ in range(5)} == {chosen("s")}
    assert len({chosen(str(n)) for n in range(50)}) == 3
