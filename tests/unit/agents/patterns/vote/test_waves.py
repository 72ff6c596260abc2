"""Waves that a stop rule chooses: as few voters as one at a time, in far fewer waves."""

from __future__ import annotations

from statistics import mean, median
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.patterns.vote import Undecided, electorate, next_wave, outstanding, verdict
from bench.samples import drawn
from celery_agents.contracts.vote import Ballot, Decision, VotePolicy, Voter

EARLY: list[Any] = [
    "adaptive_consistency",
    {"kind": "adaptive_consistency", "threshold": 0.99},
    {"kind": "lead", "k": 1},
    {"kind": "lead", "k": 3},
    {"kind": "unanimous_window", "size": 2},
    {"kind": "unanimous_window", "size": 4},
]
RULES: list[Any] = ["plurality", "majority", "supermajority", "unanimous"]


def policy_of(samples: int = 40, **more: Any) -> VotePolicy:
    voters = [{"agent": "m", "samples": samples}]
    return VotePolicy.model_validate({"rule": "plurality", "voters": voters, **more})


def ballot(voter: Voter, said: str | None) -> Ballot:
    silence: Any = {"abstained": "failed"} if said is None else {"option": said}
    return Ballot(voter=voter.key, **silence)


def held(policy: VotePolicy, answers: list[str | None]) -> tuple[Decision, list[int]]:
    """The decision where the voters answer so, in their order, and the sizes of the waves."""
    asked: list[Voter] = []
    ballots: list[Ballot] = []
    sizes: list[int] = []
    while wave := next_wave(policy, ballots, asked):
        asked += wave
        sizes.append(len(wave))
        ballots += map(ballot, wave, answers[len(ballots) :])
    found = verdict(policy, ballots, outstanding(policy, ballots))
    assert not isinstance(found, Undecided)
    return found.decision, sizes


@pytest.mark.parametrize(
    ("stop", "answers", "sizes"),
    [
        ("adaptive_consistency", "aaaa", [4]),
        ("adaptive_consistency", "aaabaaa", [4, 3]),  # 3-1, then 6-1
        ("adaptive_consistency", "abcdaaaaa", [4, 5]),  # 1-1-1-1, then 6-1
        ({"kind": "lead", "k": 3}, "aaa", [3]),
        ({"kind": "lead", "k": 3}, "abaaa", [3, 2]),
        ({"kind": "lead", "k": 1}, "a", [1]),
        ({"kind": "unanimous_window", "size": 4}, "aaaa", [4]),
        ({"kind": "unanimous_window", "size": 4}, "aabbbb", [4, 2]),  # the newest, not the best
    ],
)
def test_as_many_as_could_decide_then_as_many_as_are_missing(
    stop: Any, answers: str, sizes: list[int]
) -> None:
    decision, found = held(policy_of(stop=stop), list(answers))
    assert found == sizes
    assert (decision.samples_used, decision.samples_saved) == (len(answers), 40 - len(answers))


@given(
    stop=st.sampled_from(EARLY),
    rule=st.sampled_from(RULES),
    tie=st.sampled_from(["stated", "seeded", "fail"]),
    quorum=st.integers(1, 8),
    answers=st.lists(st.sampled_from(["a", "b", "c", None]), min_size=1, max_size=24),
)
def test_nobody_is_asked_whom_one_at_a_time_would_not_have_asked(
    stop: Any, rule: Any, tie: str, quorum: int, answers: list[str | None]
) -> None:
    about = {"stop": stop, "rule": rule, "tie": tie, "quorum": min(quorum, len(answers))}
    few, waves = held(policy_of(len(answers), **about), answers)
    one_by_one, single = held(policy_of(len(answers), waves=1, **about), answers)
    assert few.option == one_by_one.option
    if few.option is not None and None not in answers:
        assert few.samples_used == one_by_one.samples_used
    assert len(waves) <= len(single)


@pytest.mark.parametrize("more", [{"stop": "exact"}, {"stop": "none"}, {"deliberation": 1}])
def test_else_all_are_asked_at_once(more: dict[str, Any]) -> None:
    policy = policy_of(9, **{"stop": "adaptive_consistency", **more})
    assert next_wave(policy, [], []) == list(policy.voters)


def test_stated_waves_are_as_stated() -> None:
    assert held(policy_of(stop="adaptive_consistency", waves=40), ["a"] * 40)[1] == [40]
    assert held(policy_of(stop="adaptive_consistency", waves=3), ["a"] * 6)[1] == [3, 3]


def test_the_quorum_is_asked_for_in_the_first_wave() -> None:
    assert held(policy_of(stop="adaptive_consistency", quorum=10), ["a"] * 10)[1] == [10]


def test_weights_count() -> None:
    voters = [{"agent": "m", "samples": 6}, {"agent": "heavy", "weight": 9}]
    policy = policy_of(voters=voters, stop={"kind": "lead", "k": 2}, rule="majority")
    assert len(next_wave(policy, [], [])) == 2
    ballots = [ballot(voter, said) for voter, said in zip(policy.voters, "ab", strict=False)]
    assert len(next_wave(policy, ballots, policy.voters[:2])) == 2


def test_forty_samples_take_seven_in_four_waves() -> None:
    """Asked at once, all forty are paid when they answer at once."""
    used, waves, same = [], [], []
    policy = policy_of(stop="adaptive_consistency")
    for question in drawn(300):
        decision, sizes = held(policy, [*question.answers])
        used.append(decision.samples_used)
        waves.append(len(sizes))
        full = verdict(policy, list(map(ballot, electorate(policy), question.answers)))
        assert not isinstance(full, Undecided)
        same.append(decision.option == full.decision.option)
    assert mean(used) <= 7
    assert median(waves) <= 4
    assert max(waves) <= 15
    assert mean(same) >= 0.97
