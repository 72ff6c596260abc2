from __future__ import annotations

import math
from fractions import Fraction

import pytest

from agents.patterns.vote.weights import heaviest, log_odds, weight
from celery_agents.contracts.vote import VotePolicy


def policy_of(weights: object) -> VotePolicy:
    return VotePolicy.model_validate(
        {"voters": ["v", {"agent": "w", "weight": "2/3"}], "weights": weights}
    )


def test_voter_weights_are_exact() -> None:
    policy = policy_of("voter")
    assert [weight(policy, v) for v in policy.voters] == [1, Fraction(2, 3)]


def test_reliability_weighs_by_record() -> None:
    policy = policy_of({"kind": "reliability", "records": {"v": [90, 100], "w": [50, 100]}})
    good, poor = (weight(policy, v) for v in policy.voters)
    assert float(good) == pytest.approx(math.log(92 / 11), abs=1e-5)
    assert good > poor * Fraction(3, 2) > 0


@pytest.mark.parametrize(
    ("right", "judged", "options", "value"),
    [
        (0, 0, 2, math.log(2)),
        (7, 7, 2, math.log(9)),
        (1, 3, 2, 0.0),  # (1 + 2) / (3 + 3): a coin
        (0, 10, 2, 0.0),
        (4, 9, 4, math.log(3)),  # half right of four options is better than chance
    ],
)
def test_log_odds(right: int, judged: int, options: int, value: float) -> None:
    assert float(log_odds(right, judged, options=options)) == pytest.approx(value, abs=1e-6)


def test_confidence_is_a_softmax_up_to_a_factor() -> None:
    policy = policy_of({"kind": "confidence", "temperature": 0.5})
    voter = policy.voters[0]
    ratio = weight(policy, voter, 0.9) / weight(policy, voter, 0.4)
    assert float(ratio) == pytest.approx(math.exp(0.5 / 0.5), rel=1e-4)
    assert weight(policy, voter, 1.0) == heaviest(policy, voter) == 1
    assert weight(policy, voter) == weight(policy, voter, 0.5)
    assert heaviest(policy, policy.voters[1]) == Fraction(2, 3)


def test_a_low_temperature_leaves_every_ballot_some_weight() -> None:
    policy = policy_of({"kind": "confidence", "temperature": 0.1})
    assert weight(policy, policy.voters[0], 0.0) > 0
