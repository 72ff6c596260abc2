"""Decisions of a panel: pure functions from a policy and ballots to a verdict."""

from agents.patterns.vote.ballots import answer_schema, ballot, ballot_of, missing
from agents.patterns.vote.decide import (
    Deadlock,
    Decided,
    Undecided,
    Verdict,
    decided,
    outstanding,
    verdict,
)
from agents.patterns.vote.deliberation import another_round, others
from agents.patterns.vote.report import electorate, settled_by
from agents.patterns.vote.waves import next_wave

__all__ = [
    "Deadlock",
    "Decided",
    "Undecided",
    "Verdict",
    "another_round",
    "answer_schema",
    "ballot",
    "ballot_of",
    "decided",
    "electorate",
    "missing",
    "next_wave",
    "others",
    "outstanding",
    "settled_by",
    "verdict",
]
