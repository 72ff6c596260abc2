from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.patterns.vote import answer_schema, ballot, ballot_of, missing
from celery_agents.contracts.outcome import ErrorInfo, Outcome, State, Usage
from celery_agents.contracts.vote import VotePolicy


def policy_of(rule: str = "plurality", **more: Any) -> VotePolicy:
    return VotePolicy.model_validate({"voters": ["v"], "rule": rule, **more})


CHOICES = ("Red", "Deep Blue", "3.50")


@pytest.mark.parametrize(
    ("answer", "option"),
    [
        ("Red", "Red"),
        (" red. ", "Red"),
        ('"RED"', "Red"),
        ("deep\n blue", "Deep Blue"),
        ({"option": "red", "confidence": 0.5}, "Red"),
        ('{"option": "red"}', "Red"),
        ('```json\n{"option": "red"}\n```', "Red"),
        ('<think>blue?</think>\n{"option": "red"}', "Red"),
        ('Here it is:\n```json\n{"option": "red"}\n```', "Red"),
        ("<think>blue?</think>\nred", "Red"),
        ("```\n3.5\n```", "3.50"),
        (3.5, "3.50"),
        ("3.5", "3.50"),
        ({"option": "35e-1"}, "3.50"),
    ],
)
def test_an_option_is_recognised(answer: Any, option: str) -> None:
    policy = policy_of(choices=CHOICES)
    assert ballot(policy, policy.voters[0], answer).option == option


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("green", "broken"),
        ("", "broken"),
        ("I think that red is best", "broken"),
        ({"colour": "red"}, "broken"),
        ({"option": ["Red"]}, "broken"),
        ({"option": {"a": 1}}, "broken"),
        (["Red"], "broken"),
        ('{"option": "red"', "broken"),
        (True, "broken"),
        (10**400, "broken"),
        ("x" * 100_000, "broken"),
        (None, "declined"),
        ({"option": None, "reason": "cannot say"}, "declined"),
    ],
)
def test_what_cannot_be_read_is_an_abstention(answer: Any, why: str) -> None:
    policy = policy_of(choices=CHOICES)
    found = ballot(policy, policy.voters[0], answer)
    assert (found.abstained, found.option) == (why, None)


@pytest.mark.parametrize(
    ("rule", "answer", "choices"),
    [
        ("borda", ["b", "A"], ("B", "A")),
        ("borda", {"ranking": ["C", "A", "B"]}, ("C", "A", "B")),
        ("borda", "c > a > b", ("C", "A", "B")),
        ("borda", "1. C\n2. B", ("C", "B")),
        ("borda", '["A"]', ("A",)),
        ("borda", [], "declined"),
        ("borda", ["A", "a"], "broken"),
        ("borda", ["A", "X"], "broken"),
        ("borda", 7, "broken"),
        ("approval", ["A", "C"], ("A", "C")),
        ("approval", "a, c", ("A", "C")),
        ("approval", {"approvals": ["B"]}, ("B",)),
        ("approval", {"approvals": []}, "declined"),
        ("approval", {"option": "A"}, "broken"),
    ],
)
def test_rankings_and_approvals(rule: str, answer: Any, choices: Any) -> None:
    policy = policy_of(rule, choices=["A", "B", "C"])
    found = ballot(policy, policy.voters[0], answer)
    assert (found.abstained or found.choices) == choices


@pytest.mark.parametrize(
    ("stated", "confidence"),
    [
        (0.25, 0.25),
        (1, 1.0),
        ("80%", 0.8),
        ("0.5", 0.5),
        (80, None),
        (-1, None),
        ("high", None),
        (True, None),
        (float("nan"), None),
        ([], None),
        (10**400, None),
    ],
)
def test_confidence(stated: Any, confidence: float | None) -> None:
    policy = policy_of()
    found = ballot(policy, policy.voters[0], {"option": "a", "confidence": stated, "reason": "r"})
    assert (found.confidence, found.reason, found.option) == (confidence, "r", "a")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["option", "ranking", "confidence", "x"]), inner)
        ),
        max_leaves=6,
    ),
    st.sampled_from(["plurality", "borda", "approval"]),
)
@settings(deadline=None)
def test_no_answer_raises(answer: Any, rule: str) -> None:
    policy = policy_of(rule, choices=["a", "b"])
    assert ballot(policy, policy.voters[0], answer).voter == "v"


@pytest.mark.parametrize(
    ("outcome", "why"),
    [
        (Outcome(state=State.SKIPPED), "skipped"),
        (Outcome(state=State.CANCELLED), "skipped"),
        (Outcome(state=State.DEAD), "failed"),
        (Outcome(state=State.FAILED, error=ErrorInfo(kind="refused", message="no")), "failed"),
        (Outcome(state=State.FAILED, error=ErrorInfo(kind="timeout", message="late")), "missing"),
        (Outcome(state=State.FAILED, error=ErrorInfo(kind="bad_answer", message="?")), "broken"),
        (Outcome(state=State.SUCCEEDED, value={"option": None}), "declined"),
        (Outcome(state=State.SUCCEEDED, value="a"), None),
    ],
)
def test_outcomes_become_ballots_with_their_cost(outcome: Outcome, why: str | None) -> None:
    policy = policy_of()
    paid = outcome.model_copy(update={"usage": Usage(calls=2)})
    found = ballot_of(policy, policy.voters[0], paid)
    assert (found.abstained, found.usage.calls) == (why, 2)
    if outcome.error:
        assert found.reason == outcome.error.message


def test_missing() -> None:
    assert missing(policy_of().voters[0]).abstained == "missing"


def test_the_schema_asks_for_what_the_rule_needs() -> None:
    schema: Any = answer_schema(policy_of(choices=["a", "b"]))
    assert schema["properties"]["option"] == {"type": "string", "enum": ["a", "b"]}
    ranked: Any = answer_schema(policy_of("borda", choices=["a", "b"]))
    assert ranked["properties"]["ranking"]["items"]["enum"] == ["a", "b"]
    assert "enum" not in str(answer_schema(policy_of()))
