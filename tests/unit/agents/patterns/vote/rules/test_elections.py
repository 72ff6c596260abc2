"""Published elections and textbook examples, as numbers."""

from __future__ import annotations

from fractions import Fraction

import pytest

from agents.patterns.vote.poll import Result, open_poll
from agents.patterns.vote.rules import tally
from celery_agents.contracts.vote import Ballot, VotePolicy

# The mayoral election of Burlington, Vermont, 2009: ballots reduced to the last three.
BURLINGTON = {
    "MKW": 1332,
    "MWK": 767,
    "M": 455,
    "KMW": 2043,
    "KWM": 371,
    "K": 568,
    "WMK": 1513,
    "WKM": 495,
    "W": 1289,
}
# Where the capital of Tennessee should be: Memphis, Nashville, Chattanooga, Knoxville.
TENNESSEE = {"MNCK": 42, "NCKM": 26, "CKNM": 15, "KCNM": 17}
# The example with 45 voters of Schulze's paper of 2011.
SCHULZE = {
    "ACBED": 5,
    "ADECB": 5,
    "BEDAC": 8,
    "CABED": 3,
    "CAEBD": 7,
    "CBADE": 2,
    "DCEBA": 7,
    "EBADC": 8,
}
# The first round of France's presidential election of 2002; O is all others together.
FRANCE = {"Chirac": 5_665_855, "Le Pen": 4_804_713, "Jospin": 4_610_113}


def count(rule: str, votes: dict[str, int], *, tie: str = "fail") -> Result:
    policy = VotePolicy.model_validate(
        {"rule": rule, "voters": ["x"], "choices": sorted({*"".join(votes)}), "tie": tie}
    )
    kind = policy.rule.ballot
    ballots = [
        Ballot.model_validate(
            {"voter": "x", kind: said[0] if kind == "option" else tuple(said), "weight": 1}
        ).model_copy(update={"weight": Fraction(number)})
        for said, number in votes.items()
    ]
    return tally(policy, open_poll(policy, ballots))


@pytest.mark.parametrize(
    ("votes", "rule", "winner"),
    [
        (BURLINGTON, "plurality", "W"),
        (BURLINGTON, "majority", None),
        (BURLINGTON, "instant_runoff", "K"),
        (BURLINGTON, "schulze", "M"),
        (TENNESSEE, "plurality", "M"),
        (TENNESSEE, "borda", "N"),
        (TENNESSEE, "instant_runoff", "K"),
        (TENNESSEE, "schulze", "N"),
        (SCHULZE, "schulze", "E"),
    ],
)
def test_winners(votes: dict[str, int], rule: str, winner: str | None) -> None:
    assert count(rule, votes).winner == winner
    assert count(rule, votes, tie="stated").winner == winner


def test_burlington_runoff_counts() -> None:
    assert count("instant_runoff", BURLINGTON).scores == {"K": 4314, "W": 4064, "M": 2554}
    assert count("plurality", BURLINGTON).scores == {"K": 2982, "W": 3297, "M": 2554}


def test_tennessee_borda_points() -> None:
    assert count("borda", TENNESSEE).scores == {"M": 126, "N": 194, "C": 173, "K": 107}


def test_schulze_order_of_the_45_voters() -> None:
    scores = count("schulze", SCHULZE).scores
    assert sorted(scores, key=lambda option: -scores[option]) == list("EACBD")
    assert sorted(scores.values()) == [0, 1, 2, 3, 4]


def test_france_2002_has_a_first_but_no_majority() -> None:
    policy = VotePolicy.model_validate({"rule": "plurality", "voters": ["x"]})
    others = 28_498_471 - sum(FRANCE.values())
    # The others were thirteen candidates, none of them above the three.
    votes = {**FRANCE, **{f"o{i}": others // 13 for i in range(13)}}
    ballots = [
        Ballot(voter="x", option=name).model_copy(update={"weight": Fraction(number)})
        for name, number in votes.items()
    ]
    poll = open_poll(policy, ballots)
    assert tally(policy, poll).winner == "Chirac"
    majority = VotePolicy.model_validate({"rule": "majority", "voters": ["x"]})
    assert tally(majority, poll).winner is None


@pytest.mark.parametrize(
    ("threshold", "ayes", "carried"),
    [("2/3", 66, False), ("2/3", 67, True), ("3/4", 74, False), ("3/4", 75, True), (1, 99, False)],
)
def test_thresholds_of_a_hundred(threshold: str | int, ayes: int, carried: bool) -> None:
    policy = VotePolicy.model_validate(
        {"rule": {"kind": "supermajority", "threshold": threshold}, "voters": ["x"]}
    )
    ballots = [Ballot(voter=str(i), option="aye" if i < ayes else "no") for i in range(100)]
    assert (tally(policy, open_poll(policy, ballots)).winner == "aye") == carried


def test_instant_runoff_is_not_monotonic() -> None:
    """Ten ballots raise the winner to the top, and it loses: known, and kept as it is."""
    assert count("instant_runoff", {"ABC": 39, "BCA": 35, "CAB": 26}).winner == "A"
    assert count("instant_runoff", {"ABC": 49, "BCA": 25, "CAB": 26}).winner == "C"


def test_a_rock_paper_scissors_cycle_is_a_tie() -> None:
    cycle = {"RPS": 1, "PSR": 1, "SRP": 1}
    for rule in ("borda", "schulze", "instant_runoff"):
        found = count(rule, cycle)
        assert (found.winner, found.deadlock) == (None, "tie")
        assert set(found.leading) == {"R", "P", "S"}
    assert count("borda", cycle, tie="stated").winner == "P"
    assert count("schulze", cycle, tie="stated").winner == "P"
    # Of three level options the last, S, is struck out first, and R beats P.
    assert count("instant_runoff", cycle, tie="stated").winner == "R"


def test_a_tied_elimination_is_no_tie_when_both_ways_end_alike() -> None:
    found = count("instant_runoff", {"ABC": 4, "BAC": 2, "CAB": 2})
    assert (found.winner, found.leading) == ("A", ("A",))


def test_a_level_pair_is_no_link_in_a_chain() -> None:
    """A beats B, B beats C, A and C are level: nothing defeats A, and C's chain to it is none."""
    found = count("schulze", {"ABC": 2, "BCA": 1, "C": 1})
    assert (found.winner, found.leading) == ("A", ("A",))
