from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.patterns.vote import ballot
from agents.patterns.vote.consensus import consensus
from agents.patterns.vote.poll import open_poll
from celery_agents.contracts.vote import VotePolicy


def score(rule: str, answers: list[Any], option: str | None) -> Fraction:
    policy = VotePolicy.model_validate(
        {"voters": [f"v{i}" for i in range(9)], "rule": rule, "choices": ["a", "b", "c"]}
    )
    ballots = [ballot(policy, v, one) for v, one in zip(policy.voters, answers, strict=False)]
    return consensus(policy, open_poll(policy, ballots), option)


@pytest.mark.parametrize(
    ("rule", "answers", "option", "value"),
    [
        ("plurality", ["a", "a", "b"], "a", Fraction(2, 3)),
        ("plurality", ["a", "a", "b", None], "b", Fraction(1, 3)),
        ("plurality", ["a", "b", "b"], None, Fraction(2, 3)),
        ("plurality", [], None, 0),
        ("approval", [["a", "b"], ["b"]], "a", Fraction(1, 2)),
        ("borda", [["a", "b", "c"], ["a", "c", "b"]], "a", 1),
        ("borda", [["a", "b", "c"], ["b", "c", "a"]], "a", Fraction(1, 2)),
        ("schulze", [["b"]], "a", Fraction(1, 4)),
        ("instant_runoff", [["a", "b", "c"]], "c", 0),
        ("plurality", ["a"], "elsewhere", 0),
    ],
)
def test_consensus(rule: str, answers: list[Any], option: str | None, value: Fraction) -> None:
    assert score(rule, answers, option) == value


@given(
    st.lists(st.permutations(["a", "b", "c"]), max_size=9), st.sampled_from(["a", "b", "c", None])
)
def test_it_is_between_0_and_1(answers: list[Any], option: str | None) -> None:
    for rule in ("borda", "approval"):
        assert 0 <= score(rule, answers, option) <= 1
