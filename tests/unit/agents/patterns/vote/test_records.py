from __future__ import annotations

import random
from typing import Any

import pytest

from agents.patterns.vote import verdict
from agents.patterns.vote.records import credited, credits_of, decided, measured, weighed
from celery_agents.contracts.patterns import Vote
from celery_agents.contracts.verdicts import VoterRecord, VoterRecords
from celery_agents.contracts.vote import Ballot, Decision

TRUTH = {"a": 0.9, "b": 0.8, "c": 0.7, "d": 0.6, "e": 0.5}


def vote(*choices: str, **more: Any) -> Vote:
    given: dict[str, Any] = {"weights": "reliability", "choices": [*choices]}
    return Vote.from_message(["?"], {"voters": [*TRUTH], **given, **more})


def decision(request: Vote, said: dict[str, str]) -> Decision:
    ballots = [Ballot(voter=voter, option=option) for voter, option in said.items()]
    found = verdict(request, ballots)
    return found.decision  # type: ignore[union-attr]  # nobody is outstanding


@pytest.mark.parametrize("told", ["verdict", "answer"])
@pytest.mark.parametrize("options", [2, 4])
def test_learned_from_five_hundred_verdicts(options: int, told: str) -> None:
    chance, known = random.Random(7), VoterRecords()
    choices = [f"option {n}" for n in range(options)]
    right_in_fact = dict.fromkeys(TRUTH, 0)
    for _ in range(500):
        truth = chance.choice(choices)
        said = {}
        for voter, share in TRUTH.items():
            right = chance.random() < share
            right_in_fact[voter] += right
            said[voter] = truth if right else chance.choice([c for c in choices if c != truth])
        found = decision(weighed(request := vote(*choices), known), said)
        known = decided(known, request, found)
        right = found.option == truth
        answer = truth if told == "answer" and not right else None
        given = credits_of(known, request, found, right=right, answer=answer)
        known = credited(known, given, 1)
    for voter in TRUTH:
        record = known.voters[voter]
        assert record.judged == 500
        assert abs(record.right - right_in_fact[voter]) <= 15  # three points
    weights: Any = weighed(vote(*choices), known).weights
    assert [*weights.records] == [*TRUTH]


def test_a_verdict_can_be_taken_back() -> None:
    request = vote("yes", "no")
    found = decision(request, {"a": "yes", "b": "yes", "c": "no"})
    given = credits_of(VoterRecords(), request, found, right=False, answer=None)
    assert given == {"a": [0.0, 1.0], "b": [0.0, 1.0], "c": [1.0, 1.0]}
    known = credited(VoterRecords(), given, 1)
    assert known.voters["c"] == VoterRecord(right=1.0, judged=1.0)
    assert set(credited(known, given, -1).voters.values()) == {VoterRecord()}


def test_of_open_answers_those_of_a_wrong_decision_alone_are_judged() -> None:
    request = vote("x").model_copy(update={"choices": None})
    found = decision(request, {"a": "x", "b": "x", "c": "y"})
    given = credits_of(VoterRecords(), request, found, right=False, answer=None)
    assert given == {"a": [0.0, 1.0], "b": [0.0, 1.0]}


def test_decisions_count_until_there_are_verdicts() -> None:
    request, known = vote("yes", "no"), VoterRecords()
    for _ in range(40):
        found = decision(request, {"a": "yes", "b": "yes", "c": "no"})
        known = decided(known, request, found)
    weights: Any = weighed(request, known).weights
    assert weights.records == {"a": (10, 10), "b": (10, 10), "c": (0, 10)}
    known = credited(known, {"c": [300.0, 400.0]}, 1)
    weights = weighed(request, known).weights
    assert weights.records["c"] == (300, 400)
    assert measured(request)
    assert not measured(weighed(request, known))
    assert not measured(vote("yes", "no", weights="voter"))
