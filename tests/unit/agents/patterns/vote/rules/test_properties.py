"""What every rule has in common, and which rule has what."""

from __future__ import annotations

import random
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.patterns.vote.poll import Result, open_poll
from agents.patterns.vote.rules import tally
from agents.patterns.vote.rules.schulze import _pairs
from celery_agents.contracts.vote import Ballot, VotePolicy
from tests.support.drawn import costly

OPTIONS = ("b", "a", "d", "c")
RULES = (
    "plurality",
    "weighted",
    "majority",
    "supermajority",
    "unanimous",
    "approval",
    "borda",
    "schulze",
    "instant_runoff",
)
MONOTONE = tuple(rule for rule in RULES if rule != "instant_runoff")


def policy_of(rule: str, tie: Any = "fail", choices: tuple[str, ...] = OPTIONS) -> VotePolicy:
    return VotePolicy.model_validate(
        {"rule": rule, "voters": ["x"], "choices": choices, "tie": tie}
    )


def ballot_of(policy: VotePolicy, ranking: list[str], weight: Any = 1) -> Ballot:
    kind = policy.rule.ballot
    said: Any = ranking[0] if kind == "option" else tuple(ranking)
    return Ballot.model_validate({"voter": "x", kind: said, "weight": weight})


def count(policy: VotePolicy, ballots: list[Ballot]) -> Result:
    return tally(policy, open_poll(policy, ballots))


rankings = st.integers(1, 4).flatmap(
    lambda size: st.lists(st.sampled_from(OPTIONS), min_size=size, max_size=size, unique=True)
)
votes = st.lists(st.tuples(rankings, st.sampled_from([1, 1, 2, "1/3", 0.1])), max_size=9)


@pytest.mark.parametrize("rule", RULES)
@given(said=votes, rng=st.randoms(use_true_random=False))
@settings(max_examples=costly(80), deadline=None)
def test_anonymity(rule: str, said: list[tuple[list[str], Any]], rng: random.Random) -> None:
    for tie in ("fail", "stated", "seeded"):
        policy = policy_of(rule, tie)
        ballots = [ballot_of(policy, ranking, weight) for ranking, weight in said]
        shuffled = rng.sample(ballots, len(ballots))
        assert count(policy, ballots) == count(policy, shuffled)


@pytest.mark.parametrize("rule", RULES)
@given(said=votes, names=st.permutations(OPTIONS))
@settings(max_examples=costly(80), deadline=None)
def test_neutrality(rule: str, said: list[tuple[list[str], Any]], names: list[str]) -> None:
    new = dict(zip(OPTIONS, names, strict=True))
    policy = policy_of(rule)
    before = count(policy, [ballot_of(policy, ranking, w) for ranking, w in said])
    after = count(policy, [ballot_of(policy, [new[o] for o in ranking], w) for ranking, w in said])
    assert after.deadlock == before.deadlock
    assert after.winner == (None if before.winner is None else new[before.winner])
    if rule != "instant_runoff":  # its scores are those of one order of elimination
        assert dict(after.scores) == {new[o]: score for o, score in before.scores.items()}


@pytest.mark.parametrize("rule", MONOTONE)
@given(said=votes.filter(bool), data=st.data())
@settings(max_examples=costly(80), deadline=None)
def test_monotonicity(rule: str, said: list[tuple[list[str], Any]], data: st.DataObject) -> None:
    policy = policy_of(rule, "stated")
    winner = count(policy, [ballot_of(policy, ranking, w) for ranking, w in said]).winner
    if winner is None:
        return
    place = data.draw(st.integers(0, len(said) - 1))
    ranking, weight = said[place]
    before = ranking.index(winner) if winner in ranking else len(ranking)
    rest = [option for option in ranking if option != winner]
    raised = [*rest]
    raised.insert(data.draw(st.integers(0, min(before, len(rest)))), winner)
    changed = [*said]
    changed[place] = (raised, weight)
    assert count(policy, [ballot_of(policy, r, w) for r, w in changed]).winner == winner


@pytest.mark.parametrize("rule", RULES)
@given(said=votes, factor=st.integers(2, 5))
@settings(max_examples=costly(80), deadline=None)
def test_only_proportions_count(rule: str, said: list[tuple[list[str], Any]], factor: int) -> None:
    policy = policy_of(rule)
    ballots = [ballot_of(policy, ranking, weight) for ranking, weight in said]
    once, often = count(policy, ballots), count(policy, ballots * factor)
    assert (once.winner, once.leading) == (often.winner, often.leading)


@given(said=votes)
@settings(max_examples=costly(300), deadline=None)
def test_schulze_elects_the_condorcet_winner(said: list[tuple[list[str], Any]]) -> None:
    policy = policy_of("schulze")
    poll = open_poll(policy, [ballot_of(policy, ranking, w) for ranking, w in said])
    pairs = _pairs(poll.votes, len(poll.options))
    everyone = range(len(poll.options))
    beats_all = [
        poll.options[one]
        for one in everyone
        if all(pairs[one][other] > pairs[other][one] for other in everyone if other != one)
    ]
    if beats_all:
        assert tally(policy, poll).winner == beats_all[0]


@given(said=votes)
@settings(max_examples=costly(200), deadline=None)
def test_a_majority_of_first_places_wins_runoff_and_schulze(
    said: list[tuple[list[str], Any]],
) -> None:
    majority = policy_of("majority")
    winner = count(majority, [ballot_of(majority, ranking, w) for ranking, w in said]).winner
    if winner is not None:
        for rule in ("instant_runoff", "schulze"):
            policy = policy_of(rule)
            assert count(policy, [ballot_of(policy, r, w) for r, w in said]).winner == winner


@pytest.mark.parametrize("rule", RULES)
def test_no_ballots_and_weightless_ballots_decide_nothing(rule: str) -> None:
    policy = policy_of(rule, "stated")
    assert count(policy, []).deadlock == "no_ballots"
    weightless = [ballot_of(policy, ["a"], 0)]
    assert count(policy, weightless).deadlock == "no_ballots"


def test_a_partial_ranking_ranks_the_rest_level_and_last() -> None:
    policy = policy_of("borda")
    scores = count(policy, [ballot_of(policy, ["a"])]).scores
    assert scores == {"a": 3, "b": 1, "c": 1, "d": 1}
    scores = count(policy, [ballot_of(policy, ["a", "b"])]).scores
    assert scores == {"a": 3, "b": 2, "c": Fraction(1, 2), "d": Fraction(1, 2)}
