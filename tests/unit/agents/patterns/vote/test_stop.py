from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.patterns.vote.stop import enough, leads_with_probability
from celery_agents.contracts.vote import Ballot, VotePolicy


def policy_of(stop: object) -> VotePolicy:
    return VotePolicy.model_validate({"voters": ["x"], "rule": "plurality", "stop": stop})


def ballots(text: str) -> list[Ballot]:
    """One ballot a letter; "-" abstains."""
    return [
        Ballot(voter=str(i), abstained="broken") if o == "-" else Ballot(voter=str(i), option=o)
        for i, o in enumerate(text)
    ]


@pytest.mark.parametrize(
    ("leader", "runner_up"), [(4, 0), (6, 1), (8, 2), (9, 3), (11, 4), (12, 5)]
)
def test_adaptive_consistency_stops_here_and_not_one_ballot_earlier(
    leader: int, runner_up: int
) -> None:
    policy = policy_of("adaptive_consistency")
    assert enough(policy, ballots("a" * leader + "b" * runner_up), "a")
    assert not enough(policy, ballots("a" * (leader - 1) + "b" * runner_up), "a")


def test_the_posterior_in_numbers() -> None:
    assert leads_with_probability(0, 0) == Fraction(1, 2)
    assert leads_with_probability(4, 0) == Fraction(31, 32)
    assert leads_with_probability(6, 1) == Fraction(247, 256)


@given(st.integers(0, 40), st.integers(0, 40))
def test_the_posterior_is_a_probability_and_symmetric(one: int, other: int) -> None:
    forth, back = leads_with_probability(one, other), leads_with_probability(other, one)
    assert forth + back == 1
    assert leads_with_probability(one + 1, other) > forth


@pytest.mark.parametrize(
    ("stop", "text", "stops"),
    [
        ("adaptive_consistency", "aaaa", True),
        ("adaptive_consistency", "aaa-", False),
        ("adaptive_consistency", "aaabcde", False),
        ("adaptive_consistency", "aaaaaabcd", True),  # the runner-up counts, not all others
        ({"kind": "adaptive_consistency", "threshold": "9/10"}, "aaa", True),
        ({"kind": "adaptive_consistency", "threshold": 0.99}, "aaaaa", False),
        ({"kind": "lead", "k": 2}, "aab", False),
        ({"kind": "lead", "k": 2}, "aaabc", True),
        ("lead", "aaab", False),
        ("lead", "aaa", True),
        ({"kind": "unanimous_window", "size": 3}, "baaa", True),
        ({"kind": "unanimous_window", "size": 3}, "ba-aa", True),
        ({"kind": "unanimous_window", "size": 3}, "aabaa", False),
        ({"kind": "unanimous_window", "size": 3}, "aa", False),
        ({"kind": "unanimous_window", "size": 2}, "aaabb", False),  # the window is not the leader's
        ("exact", "aaaaaaaaa", False),
    ],
)
def test_stop_rules(stop: object, text: str, stops: bool) -> None:
    assert enough(policy_of(stop), ballots(text), "a") == stops
