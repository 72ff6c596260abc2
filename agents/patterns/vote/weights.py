"""Weights of ballots."""

from __future__ import annotations

import math
from fractions import Fraction

from celery_agents.contracts.vote import Confidence, Reliability, VotePolicy, Voter

_SILENT = 0.5  # the confidence of a ballot that states none
_STEPS = 1_000_000  # weights from transcendental functions are rounded to this part of one


def weight(policy: VotePolicy, voter: Voter, confidence: float | None = None) -> Fraction:
    """The weight of a voter's ballot, exact, from its policy and its stated confidence.

    Confidence weights are exp((confidence - 1) / temperature): the softmax over all ballots up
    to a factor that they share, so that a ballot's weight does not depend on later ones.
    """
    match policy.weights:
        case Reliability(records=records):
            right, judged = records.get(voter.agent, (0, 0))
            return voter.weight * log_odds(right, judged, options=len(policy.choices or (0, 1)))
        case Confidence(temperature=temperature):
            sure = _SILENT if confidence is None else confidence
            return voter.weight * max(_rounded(math.exp((sure - 1) / temperature)), _LEAST)
        case _:
            return voter.weight


def heaviest(policy: VotePolicy, voter: Voter) -> Fraction:
    """The most that the voter's ballot can weigh."""
    return weight(policy, voter, confidence=1.0)


def log_odds(right: int, judged: int, *, options: int = 2) -> Fraction:
    """The weight that makes the best use of a voter who was right ``right`` of ``judged`` times.

    With independent voters of competence p and m equally likely options the most probable
    answer has the largest sum of ln((m - 1) p / (1 - p)) (S. Nitzan, J. Paroush, "Optimal
    decision rules in uncertain dichotomous choice situations", 1982; L. Shapley, B. Grofman,
    "Optimizing group judgmental accuracy in the presence of interdependencies", 1984). p is
    estimated as (right + 2) / (judged + 3), as if two right answers and a wrong one had gone
    before: one without a record counts a little, and no weight is infinite. A voter at or below
    chance weighs nothing.
    """
    p = Fraction(right + 2, judged + 3)
    odds = max(options - 1, 1) * p / (1 - p)
    return max(_rounded(math.log(odds)), Fraction(0))


def _rounded(value: float) -> Fraction:
    return Fraction(round(value * _STEPS), _STEPS)


_LEAST = Fraction(1, _STEPS)
